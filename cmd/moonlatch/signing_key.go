package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

func (p *program) signingKeyRotateCommand() *cli.Command {
	return &cli.Command{
		Name:  "rotate",
		Usage: "publish the key that signs session tokens next; the server does so by itself every 30 days",
		Description: "The new key is published at once and signs from 10 minutes later, when everybody who checks tokens has heard of it.\n" +
			"Nobody has to log in again: the old key stays published until its last token has expired. While a key waits to\n" +
			"sign, no other is made. Where there is no key at all, the new one signs at once.",
		Action: p.configured(p.rotateSigningKey),
	}
}

func (p *program) rotateSigningKey(ctx context.Context, _ *cli.Command) error {
	return p.withStore(ctx, func(_ *store.Store, ring *keyring.Keyring) error {
		key, err := ring.RotateSigningKey(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "The key %s is published and signs session tokens from %s on.\nTokens of the key before it stay good until they expire.\n",
			key.ID, key.SignsFrom.Format(time.RFC3339))
		return err
	})
}
