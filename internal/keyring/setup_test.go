package keyring_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/demo"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestFirstOrganisationIsCreatedOnce has every way to create it wait until all of them have seen an empty database.
func TestFirstOrganisationIsCreatedOnce(t *testing.T) {
	address := storetest.URL(t)
	s, other := storetest.Open(t, address), storetest.Open(t, address)
	db := storetest.Unaudited(t, address)
	ring := keyring.New(s)
	token, err := ring.SetupToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ways := []func() error{
		func() error {
			_, err := ring.SetUp(t.Context(), keyring.Visitor{}, token, keyring.SetUpDraft{Organisation: "Linked", Name: "Lin", Email: "lin@linked.test", Password: another})
			return err
		},
		func() error {
			_, err := demo.Fill(t.Context(), other)
			return err
		},
	}
	for i := range 3 {
		ways = append(ways, func() error {
			_, err := ring.CreateMember(t.Context(), keyring.MemberDraft{Organisation: fmt.Sprint("Org ", i), Email: fmt.Sprintf("o%d@org.test", i), Role: "owner", Password: another})
			return err
		})
	}
	held, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Rollback() }()
	if _, err := held.Exec(`LOCK TABLE organisations IN SHARE ROW EXCLUSIVE MODE`); err != nil { // they can be read
		t.Fatal(err)
	}
	ended := make(chan error, len(ways))
	for _, way := range ways {
		go func() { ended <- way() }()
	}
	for waiting := 0; waiting < len(ways); {
		if len(ended) > 0 {
			t.Fatal("one did not wait:", <-ended)
		}
		if err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := held.Commit(); err != nil {
		t.Fatal(err)
	}
	created := 0
	for range ways {
		switch err := <-ended; {
		case err == nil:
			created++
		case errors.Is(err, keyring.ErrSetUp), errors.Is(err, demo.ErrNotEmpty):
		case strings.Contains(input.ProblemsIn(err)["organisation"], "To create it, add --new-organisation."):
		default:
			t.Error(err)
		}
	}
	organisations, err := s.Organisations(t.Context())
	if err != nil || len(organisations) != 1 || created != 1 {
		t.Errorf("%d were created: %v, %v", created, organisations, err)
	}
}
