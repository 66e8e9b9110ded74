package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/store"
)

func (p *program) migrateCommand() *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "bring the database's schema up to date; serve and the other commands do so too",
		Action: p.configured(func(ctx context.Context, _ *cli.Command) error {
			return p.migrate(ctx)
		}),
	}
}

func (p *program) migrate(ctx context.Context) (err error) {
	db, err := p.findDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, db.stop()) }()
	applied, err := store.Migrate(ctx, db.url)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "The schema is up to date. Migrations applied: %d.\n", applied)
	return err
}
