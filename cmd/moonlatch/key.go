package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

func (p *program) keyIssueCommand() *cli.Command {
	return &cli.Command{
		Name:  "issue",
		Usage: "issue a key, and print it: the one time that it is shown",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "organisation", Usage: "its `NAME`", Required: true},
			&cli.StringFlag{Name: "owner", Usage: "the e-mail `ADDRESS` of the owner or admin who shall own it", Required: true},
			&cli.StringFlag{Name: "name", Usage: "the key's `NAME`", Required: true},
			&cli.StringSliceFlag{Name: "scope", Usage: "a `SCOPE` of the catalogue, or * for all; repeat it for more", Required: true},
			&cli.StringFlag{Name: "environment", Usage: "the `KIND`, live or test (default: live)"},
			&cli.StringFlag{Name: "workspace", Usage: "the `NAME` of the workspace that it belongs to (default: the whole organisation)"},
			&cli.StringSliceFlag{Name: "allow", Usage: "an `ADDRESS` or CIDR range that it is accepted from; repeat it for more (default: anywhere)"},
			&cli.StringFlag{Name: "expires-in", Usage: "a `TIME` like 90d, or a date like 2027-01-31 (default: as the organisation's policy says)"},
		},
		Action: p.configured(p.issueKey),
	}
}

func (p *program) issueKey(ctx context.Context, c *cli.Command) error {
	organisation, email := c.String("organisation"), c.String("owner")
	return p.withStore(ctx, func(_ *store.Store, ring *keyring.Keyring) error {
		owner, err := ring.MemberByEmail(ctx, organisation, email)
		if err != nil {
			return err
		}
		workspaceID, err := workspaceCalled(ctx, ring, owner.OrgID, c.String("workspace"))
		if err != nil {
			return err
		}
		key, plaintext, err := ring.IssueKey(ctx, keyring.Operator(owner.OrgID), keyring.KeyDraft{
			Name: c.String("name"), WorkspaceID: workspaceID, IPAllowlist: c.StringSlice("allow"), Scopes: c.StringSlice("scope"), Environment: c.String("environment"),
			Expires: c.String("expires-in"), OwnerID: owner.ID,
		})
		var missing keyring.MissingError
		switch errors.As(err, &missing); {
		case missing.Field == "workspaceId": // deleted since it was looked up
			return fmt.Errorf("the organisation has no workspace %q any more", c.String("workspace"))
		case missing.Field == "ownerId":
			return fmt.Errorf("%s can't own keys: only active owners and admins can", owner.Email)
		case err != nil:
			return err
		}
		if _, err := fmt.Fprintln(p.stdout, plaintext.Reveal()); err != nil {
			return fmt.Errorf("the key %s was issued, but could not be printed; delete it and issue another: %w", key.ID, err)
		}
		return nil
	})
}

// workspaceCalled is the id of the workspace of this name, or of the only one whose name is alike (input.NameKey);
// "" for no name.
func workspaceCalled(ctx context.Context, ring *keyring.Keyring, orgID, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	workspaces, err := ring.Workspaces(ctx, keyring.Operator(orgID))
	if err != nil {
		return "", err
	}
	var alike []string
	for _, w := range workspaces {
		if w.Name == name {
			return w.ID, nil
		}
		if input.NameKey(w.Name) == input.NameKey(name) {
			alike = append(alike, w.ID)
		}
	}
	switch len(alike) {
	case 0:
		return "", fmt.Errorf("the organisation has no workspace %q", name)
	case 1:
		return alike[0], nil
	}
	return "", fmt.Errorf("%d workspaces are called %q, but for case and spaces; write the name as it is", len(alike), name)
}
