package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

func (p *program) userCreateCommand() *cli.Command {
	return &cli.Command{
		Name:  "create",
		Usage: "make an account, and its organisation if there is none yet or with --new-organisation",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "organisation", Usage: "its `NAME`, in whatever case", Required: true},
			&cli.BoolFlag{Name: "new-organisation", Usage: "create the organisation, beside those that exist"},
			&cli.StringFlag{Name: "email", Usage: "the `ADDRESS` to sign in with", Required: true},
			&cli.StringFlag{Name: "role", Usage: "the `ROLE`: owner, admin, support or member", Required: true},
			&cli.StringFlag{Name: "name", Usage: "the person's `NAME`"},
			&cli.BoolFlag{Name: "password-stdin", Usage: "read the password, one line, from standard input", Required: true},
		},
		Action: p.configured(p.createUser),
	}
}

func (p *program) createUser(ctx context.Context, c *cli.Command) error {
	password, err := readLine(p.stdin, "password")
	if err != nil {
		return err
	}
	draft := keyring.MemberDraft{Organisation: c.String("organisation"), Email: c.String("email"), Name: c.String("name"),
		Role: c.String("role"), Password: password, NewOrganisation: c.Bool("new-organisation")}
	return p.withStore(ctx, func(_ *store.Store, ring *keyring.Keyring) error {
		member, err := ring.CreateMember(ctx, draft)
		if errors.Is(err, keyring.ErrTaken) {
			return errors.New("this e-mail address has an account already")
		}
		if err != nil {
			return err
		}
		organisation, err := ring.OrganisationCalled(ctx, draft.Organisation) // as it is written
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "%s can sign in: %s of %s.\n", member.Email, member.Role, organisation.Name)
		return err
	})
}

func (p *program) userPasswordCommand() *cli.Command {
	return &cli.Command{
		Name:  "password",
		Usage: "set a new password for somebody who has lost theirs, and end their sessions",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "email", Usage: "the `ADDRESS` of the account", Required: true},
			&cli.BoolFlag{Name: "password-stdin", Usage: "read the password, one line, from standard input", Required: true},
		},
		Action: p.configured(p.setPassword),
	}
}

func (p *program) setPassword(ctx context.Context, c *cli.Command) error {
	password, err := readLine(p.stdin, "password")
	if err != nil {
		return err
	}
	return p.withStore(ctx, func(_ *store.Store, ring *keyring.Keyring) error {
		member, err := ring.SetPassword(ctx, c.String("email"), password)
		if errors.Is(err, keyring.ErrNotFound) {
			return errors.New("this e-mail address has no account")
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "%s has a new password and is signed out everywhere.\n", member.Email)
		return err
	})
}

func (p *program) userEmailCommand() *cli.Command {
	return &cli.Command{
		Name:  "email",
		Usage: "change the address that a member signs in with, and end their sessions",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "email", Usage: "the `ADDRESS` of the account", Required: true},
			&cli.StringFlag{Name: "new", Usage: "its new `ADDRESS`", Required: true},
		},
		Action: p.configured(func(ctx context.Context, c *cli.Command) error {
			return p.withStore(ctx, func(_ *store.Store, ring *keyring.Keyring) error {
				member, err := ring.SetEmail(ctx, c.String("email"), c.String("new"))
				switch {
				case errors.Is(err, keyring.ErrNotFound):
					return errors.New("this e-mail address has no account")
				case errors.Is(err, keyring.ErrTaken):
					return errors.New("the new e-mail address has an account already")
				case err != nil:
					return err
				}
				_, err = fmt.Fprintf(p.stdout, "%s signs in with this address now, and is signed out everywhere.\n", member.Email)
				return err
			})
		}),
	}
}

func (p *program) userEraseCommand() *cli.Command {
	return &cli.Command{
		Name:  "erase",
		Usage: "erase the name and the address of somebody who was removed, but for the audit log",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "email", Usage: "an `ADDRESS` that they had, the last or an earlier one", Required: true},
		},
		Action: p.configured(func(ctx context.Context, c *cli.Command) error {
			return p.withStore(ctx, func(_ *store.Store, ring *keyring.Keyring) error {
				done, err := ring.Erase(ctx, c.String("email"))
				switch {
				case errors.Is(err, keyring.ErrNotFound):
					return errors.New("nobody who was removed had this e-mail address")
				case errors.Is(err, keyring.ErrMemberState):
					return fmt.Errorf("this e-mail address is, or was, that of the account %s; remove the member first, under Members", strings.Join(done.Kept, ", "))
				case err != nil:
					return err
				}
				var lines []string
				for _, email := range done.Erased {
					lines = append(lines, fmt.Sprintf("Erased: shown as %s from now on. The audit log keeps what it says.", email))
				}
				if len(lines) == 0 {
					lines = append(lines, "Nothing is left to erase: it was erased before. The audit log keeps what it says.")
				}
				for _, email := range done.Kept {
					lines = append(lines, fmt.Sprintf("Not erased: the account %s has or had this e-mail address too, and was not removed.", email))
				}
				_, err = fmt.Fprintln(p.stdout, strings.Join(lines, "\n"))
				return err
			})
		}),
	}
}

// maxLine bounds a password's line in bytes, far above what a password may have.
const maxLine = 4096

// readLine reads one line, and names what should be in it when it is empty; a secret comes this way, for arguments can be seen by
// others.
func readLine(r io.Reader, what string) (string, error) {
	text, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" {
		return "", misused("standard input has no %s; pipe one line to it", what)
	}
	return text, nil
}
