package keyring_test

import (
	"errors"
	"testing"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

// TestNamesThatDifferInCaseAloneAreOne for all that people tell apart by name.
func TestNamesThatDifferInCaseAloneAreOne(t *testing.T) {
	h := newHouse(t)
	owner, ctx := h.org.Owner, t.Context()
	research, err := h.CreateWorkspace(ctx, owner, "Research")
	if err != nil {
		t.Fatal(err)
	}
	sales, err := h.CreateWorkspace(ctx, owner, "Sales")
	if err != nil {
		t.Fatal(err)
	}
	process, err := h.CreateProcess(ctx, owner, research.ID, "Über prüfen")
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.CreateProcess(ctx, owner, research.ID, "Other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateProcess(ctx, owner, sales.ID, "über prüfen"); err != nil {
		t.Errorf("a process of the same name in another workspace: %v", err)
	}
	profile, err := h.CreateProfile(ctx, owner, keyring.ProfileDraft{Name: "Strict"})
	if err != nil {
		t.Fatal(err)
	}
	loose, err := h.CreateProfile(ctx, owner, keyring.ProfileDraft{Name: "Loose"})
	if err != nil {
		t.Fatal(err)
	}
	name := func(text string) keyring.ProfileEdit { return keyring.ProfileEdit{Name: &text} }
	for what, do := range map[string]func() error{
		"a workspace":         func() error { _, err := h.CreateWorkspace(ctx, owner, "RESEARCH"); return err },
		"a renamed workspace": func() error { _, err := h.EditWorkspace(ctx, owner, sales.ID, named("research")); return err },
		"a process":           func() error { _, err := h.CreateProcess(ctx, owner, research.ID, "ÜBER  PRÜFEN"); return err },
		"a renamed process":   func() error { _, err := h.EditProcess(ctx, owner, other.ID, named("über prüfen")); return err },
		"a profile":           func() error { _, err := h.CreateProfile(ctx, owner, keyring.ProfileDraft{Name: "strict"}); return err },
		"a renamed profile":   func() error { _, err := h.EditProfile(ctx, owner, loose.ID, name("STRICT")); return err },
		"a profile, in width": func() error {
			_, err := h.CreateProfile(ctx, owner, keyring.ProfileDraft{Name: "Ｓｔｒｉｃｔ"})
			return err
		},
		"a workspace's spelling": func() error { _, err := h.CreateWorkspace(ctx, owner, "research"); return err },
	} {
		if err := do(); !errors.Is(err, keyring.ErrTaken) {
			t.Errorf("%s whose name is alike: %v", what, err)
		}
	}
	if _, err := h.EditWorkspace(ctx, owner, research.ID, named("RESEARCH")); err != nil {
		t.Errorf("another case for its own name: %v", err)
	}
	if _, err := h.EditProcess(ctx, owner, process.ID, named("über prüfen")); err != nil {
		t.Errorf("another case for a process's own name: %v", err)
	}
	if _, err := h.EditProfile(ctx, owner, profile.ID, name("strict")); err != nil {
		t.Errorf("another case for a profile's own name: %v", err)
	}
}

func named(text string) keyring.PlaceEdit { return keyring.PlaceEdit{Name: &text} }

// TestAlikeNamesOfEarlierVersionsStay: an upgrade refuses none and renames none, and they can be changed as any other.
func TestAlikeNamesOfEarlierVersionsStay(t *testing.T) {
	h := newHouse(t)
	owner, ctx := h.org.Owner, t.Context()
	first, err := h.CreateWorkspace(ctx, owner, "Research")
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.CreateWorkspace(ctx, owner, "Twin")
	if err != nil {
		t.Fatal(err)
	}
	// As the migration leaves them.
	if _, err := h.db.Exec(`SET session_replication_role = replica`); err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.Exec(`UPDATE workspaces SET name = 'research', name_key = 'research ' || id WHERE id = $1`, second.ID); err != nil {
		t.Fatal(err)
	}
	for _, archived := range []bool{true, false} {
		if _, err := h.EditWorkspace(ctx, owner, second.ID, keyring.PlaceEdit{Archived: &archived}); err != nil {
			t.Errorf("archived %t: %v", archived, err)
		}
	}
	if _, err := h.EditWorkspace(ctx, owner, second.ID, named("RESEARCH")); !errors.Is(err, keyring.ErrTaken) {
		t.Errorf("renamed to what is alike: %v", err)
	}
	if _, err := h.EditWorkspace(ctx, owner, second.ID, named("Laboratory")); err != nil {
		t.Errorf("renamed: %v", err)
	}
	if _, err := h.EditWorkspace(ctx, owner, first.ID, named("laboratory")); !errors.Is(err, keyring.ErrTaken) {
		t.Errorf("the other renamed to what is alike: %v", err)
	}
}
