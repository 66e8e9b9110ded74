package keyring

import (
	"context"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

// Overview is how an organisation's keys are.
type Overview struct {
	store.KeyFigures
	Soon  []KeyRow          // the next few to expire
	Usage []apikey.DayUsage // requests with all keys by day, oldest first
}

const (
	overviewSoon = 5
	overviewDays = 30
)

// Overview returns how the organisation's keys are.
func (r *Keyring) Overview(ctx context.Context, actor account.Actor) (Overview, error) {
	var o Overview
	if err := allow(actor, account.ReadKeys); err != nil {
		return o, err
	}
	var err error
	if o.KeyFigures, err = r.store.KeyFigures(ctx, actor.OrgID); err != nil {
		return o, err
	}
	soon, err := r.store.ListKeys(ctx, actor.OrgID, apikey.Filter{ExpiresWithin: apikey.SoonDays}, apikey.Sort{By: apikey.ByExpiry}, apikey.Position{}, overviewSoon)
	if err != nil {
		return o, err
	}
	o.Soon = soon.Rows
	o.Usage, err = r.store.OrganisationUsage(ctx, actor.OrgID, overviewDays)
	return o, err
}
