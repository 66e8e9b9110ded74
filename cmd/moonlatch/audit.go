package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

func (p *program) auditVerifyCommand() *cli.Command {
	return &cli.Command{
		Name:   "verify",
		Usage:  "walk the audit log's chain, and name the first event that was altered, removed or inserted",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "organisation", Usage: "the `NAME` of the only one to walk (default: all)"}},
		Action: p.configured(p.verifyAudit),
	}
}

func (p *program) verifyAudit(ctx context.Context, c *cli.Command) error {
	return p.withStore(ctx, func(s *store.Store, ring *keyring.Keyring) error {
		organisations, err := chosen(ctx, s, ring, c)
		if err != nil {
			return err
		}
		var broken []error
		for _, org := range organisations {
			events, err := s.VerifyChain(ctx, org.ID)
			var bad *audit.BrokenError
			switch {
			case errors.As(err, &bad):
				broken = append(broken, fmt.Errorf("%s: %w", org.Name, bad))
			case err != nil:
				return err
			default:
				fmt.Fprintf(p.stdout, "%s: %d events, the chain holds.\n", org.Name, events)
			}
		}
		return errors.Join(broken...)
	})
}

// chosen returns the organisation that a command names, or all when it names none.
func chosen(ctx context.Context, s *store.Store, ring *keyring.Keyring, c *cli.Command) ([]store.Organisation, error) {
	if !c.IsSet("organisation") {
		return s.Organisations(ctx)
	}
	org, err := ring.OrganisationCalled(ctx, c.String("organisation"))
	if errors.Is(err, keyring.ErrNotFound) { // a slip in the name is told from a broken chain
		err = usageError{err}
	}
	return []store.Organisation{org}, err
}
