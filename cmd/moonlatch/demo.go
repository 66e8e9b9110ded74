package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/internal/demo"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

func (p *program) demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "fill an empty database with a demonstration organisation, and print its accounts",
		Action: p.configured(func(ctx context.Context, _ *cli.Command) error {
			return p.withStore(ctx, func(s *store.Store, _ *keyring.Keyring) error {
				return p.fill(ctx, s, p.config.baseURL(string(p.config.Addr)))
			})
		}),
	}
}

// fill makes the demonstration and prints who can sign in. That is printed although the rest failed, for it is
// known nowhere else.
func (p *program) fill(ctx context.Context, s *store.Store, base *url.URL) error {
	accounts, err := demo.Fill(ctx, s)
	if len(accounts) == 0 {
		return err
	}
	if p.announce != nil {
		for _, a := range accounts {
			p.announce.Info("demonstration account; the password is shown this once", "url", base.String(), "role", a.Role, "email", a.Email, "password", a.Password)
		}
		return withoutCause(err)
	}
	lines := []string{fmt.Sprintf("%s, a demonstration. Sign in at %s", demo.Organisation, base), ""}
	for _, a := range accounts {
		lines = append(lines, fmt.Sprintf("%-8s %-24s %s", a.Role, a.Email, a.Password))
	}
	p.box(append(lines, "", "These passwords are shown this once and stored nowhere.")...)
	return withoutCause(err)
}

// withoutCause keeps a failure to fill a failure also when it was told to stop: what is missing stays missing.
func withoutCause(err error) error {
	if err != nil {
		return errors.New(err.Error())
	}
	return nil
}
