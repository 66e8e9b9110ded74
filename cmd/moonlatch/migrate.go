package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"
)

func (p *program) migrateCommand() *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "bring the database's schema up to date, with MIGRATE_DATABASE_URL if that is set, and grant DATABASE_URL's account what serve needs; serve and the other commands do so too where they may",
		Action: p.configured(func(ctx context.Context, _ *cli.Command) error {
			return p.migrate(ctx)
		}),
	}
}

func (p *program) migrate(ctx context.Context) (err error) {
	db := p.config.database()
	if db.owner == "" { // else the account that serves need not be reached: its password may not be known here
		if db, err = p.findDatabase(ctx); err != nil {
			return err
		}
	}
	defer func() { err = firstOf(err, db.stop()) }()
	applied, err := db.migrate(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "The schema is up to date. Migrations applied: %d.\n", applied)
	return err
}
