package keyring_test

import (
	"errors"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// TestAStrongerKeyIsNotAnAdminsToLetLoose edits owners' keys as an admin, and as an admin's key: what confines or ends a key is
// theirs to do, and what lets its plaintext do more again is not.
func TestAStrongerKeyIsNotAnAdminsToLetLoose(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	asKey := h.org.Admin
	asKey.KeyID, asKey.Scopes = h.issue(h.org.Admin, keyring.KeyDraft{Name: "acts", Scopes: []string{"write:api-keys", "write:config"}}).ID, []string{"write:api-keys", "write:config"}
	profile, err := h.CreateProfile(ctx, h.org.Owner, keyring.ProfileDraft{Name: "Strict", DefaultThreshold: "50"})
	if err != nil {
		t.Fatal(err)
	}
	none, later, sooner := "", time.Now().AddDate(0, 6, 0).UTC().Format(time.RFC3339), time.Now().AddDate(0, 0, 20).UTC().Format(time.RFC3339)
	anywhere, wide, narrow := []string{}, []string{"203.0.113.0/24"}, []string{"203.0.113.9"}
	enabled, disabled, name := apikey.Enabled, apikey.Disabled, "another name"
	widening := map[string]keyring.KeyEdit{
		"enabled":           {Status: &enabled},
		"from anywhere":     {IPAllowlist: &anywhere},
		"from a wide range": {IPAllowlist: &wide},
		"for longer":        {Expires: &later},
		"without a profile": {ProfileID: &none},
	}
	narrowing := map[string]keyring.KeyEdit{
		"called otherwise":     {Name: &name},
		"for a shorter time":   {Expires: &sooner},
		"from fewer places":    {IPAllowlist: &narrow},
		"with another profile": {ProfileID: &profile.ID},
	}
	edit := func(by account.Actor, of account.Actor, scope string, change keyring.KeyEdit, before apikey.Status) error {
		t.Helper()
		key := h.issue(of, keyring.KeyDraft{Name: "leaked", Scopes: []string{scope}, IPAllowlist: []string{"203.0.113.8/30"}, ProfileID: profile.ID, Expires: "90d"})
		if before == disabled {
			if _, err := h.ChangeStatus(ctx, h.org.Owner, apikey.Disable, key.ID); err != nil {
				t.Fatal(err)
			}
		}
		_, err := h.EditKey(ctx, by, key.ID, change)
		return err
	}
	for who, actor := range map[string]account.Actor{"an admin": h.org.Admin, "an admin's key": asKey} {
		for what, change := range widening {
			for _, scope := range []string{apikey.All, "write:config"} {
				if err := edit(actor, h.org.Owner, scope, change, disabled); !errors.Is(err, keyring.ErrEntrust) && !errors.Is(err, keyring.ErrHandOut) {
					t.Errorf("%s lets an owner's key with %s act %s: %v", who, scope, what, err)
				}
			}
		}
	}
	for what, change := range narrowing {
		if err := edit(h.org.Admin, h.org.Owner, apikey.All, change, enabled); err != nil {
			t.Errorf("an admin lets an owner's key act %s: %v", what, err)
		}
	}
	for what, change := range widening {
		if err := edit(h.org.Admin, h.org.Owner, "read:chat", change, disabled); err != nil {
			t.Errorf("an owner's key to the organisation's own API, %s: %v", what, err)
		}
		if err := edit(h.org.Owner, h.org.Owner, apikey.All, change, disabled); err != nil {
			t.Errorf("an owner, %s: %v", what, err)
		}
	}
	leaked := h.issue(h.org.Owner, keyring.KeyDraft{Name: "leaked", Scopes: []string{apikey.All}})
	for _, c := range []struct {
		change apikey.Change
		want   error
	}{{apikey.Disable, nil}, {apikey.Enable, keyring.ErrEntrust}, {apikey.Revoke, nil}} {
		if _, err := h.ChangeStatus(ctx, h.org.Admin, c.change, leaked.ID); !errors.Is(err, c.want) {
			t.Errorf("an admin: %s: %v", c.change, err)
		}
	}
}
