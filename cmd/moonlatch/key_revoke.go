package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

func (p *program) keyRevokeCommand() *cli.Command {
	return &cli.Command{
		Name:  "revoke",
		Usage: "revoke any owner’s key for good; every replica refuses it within a second",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "key-stdin", Usage: "read the leaked key, one line, from standard input"},
			&cli.StringFlag{Name: "id", Usage: "the key's `ID`"},
			&cli.StringFlag{Name: "prefix", Usage: "the `PREFIX` of the key, all before its last underscore, or the key as it is displayed"},
			&cli.StringFlag{Name: "signature", Usage: "the last 6 `CHARACTERS` of the key"},
			&cli.StringFlag{Name: "organisation", Usage: "look in the organisation of this `NAME` alone (default: in all)"},
		},
		Action: p.configured(p.revokeKey),
	}
}

func (p *program) revokeKey(ctx context.Context, c *cli.Command) error {
	given := 0
	for _, name := range []string{"id", "prefix", "signature"} {
		if c.IsSet(name) {
			if apikey.SignatureIn(c.String(name)) != "" {
				return misused("--%s was given a whole key, which is in the history of the shell now: give it to --key-stdin, and nothing was revoked yet", name)
			}
			given++
		}
	}
	if c.Bool("key-stdin") {
		given++
	}
	if given != 1 {
		return misused("say which key with one of --key-stdin, --id, --prefix and --signature")
	}
	leaked := ""
	if c.Bool("key-stdin") {
		line, err := readLine(p.stdin, "key")
		if err != nil {
			return err
		}
		leaked = strings.TrimSpace(line)
	}
	return p.withStore(ctx, func(db *store.Store, ring *keyring.Keyring) error {
		found, err := findKeys(ctx, db, ring, c, leaked)
		if err != nil {
			return err
		}
		switch {
		case len(found) == 0:
			return errors.New("there is no such key")
		case len(found) > 1:
			var names []string
			for _, key := range found {
				names = append(names, fmt.Sprintf("%s (“%s”)", key.ID, key.Name))
			}
			return fmt.Errorf("%d keys match; nothing was revoked. Choose one with --id: %s", len(found), strings.Join(names, ", "))
		}
		key := found[0]
		_, err = ring.ChangeStatus(ctx, keyring.Operator(key.OrgID), apikey.Revoke, key.ID)
		if errors.Is(err, apikey.ErrState) {
			return fmt.Errorf("the key %s (“%s”) is %s already", key.ID, key.Name, strings.ToLower(key.StatusAt(ring.Now()).Label()))
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "Revoked the key “%s” (%s, …%s) of %s.\n", key.Name, key.ID, key.Signature, key.Owner.Email)
		return err
	})
}

// findKeys returns the keys that the flags, or the whole key, name. A key that is found may have ended already.
func findKeys(ctx context.Context, db *store.Store, ring *keyring.Keyring, c *cli.Command, leaked string) ([]keyring.KeyRow, error) {
	organisations, err := chosen(ctx, db, ring, c)
	if err != nil {
		return nil, err
	}
	id, typed := strings.TrimSpace(c.String("id")), strings.TrimSpace(c.String("prefix")+c.String("signature"))
	exact := apikey.Unmask(typed)
	masked := len(typed)-len(exact) >= apikey.SignatureLength // the signature stands behind the prefix
	if c.Bool("key-stdin") {
		plaintext, err := apikey.Parse(leaked)
		if err != nil {
			return nil, misused("what stands on standard input is no whole key of Moonlatch; find it with --prefix or --signature")
		}
		key, err := db.KeyByHash(ctx, plaintext.Hash())
		if errors.Is(err, keyring.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		id = key.ID
	}
	var found []keyring.KeyRow
	for _, organisation := range organisations {
		operator := keyring.Operator(organisation.ID)
		if id != "" {
			key, err := ring.Key(ctx, operator, id)
			if errors.Is(err, keyring.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			found = append(found, key)
			continue
		}
		for cursor, more := "", true; more; {
			page, err := ring.Keys(ctx, operator, apikey.Filter{Search: exact}, apikey.Newest, cursor, 100)
			if err != nil {
				return nil, err
			}
			for _, key := range page.Rows {
				if key.Prefix == exact && (!masked || strings.HasSuffix(typed, key.Signature)) || key.Signature == exact { // the search finds names too
					found = append(found, key)
				}
			}
			cursor, more = page.Next, page.Next != ""
		}
	}
	return found, nil
}
