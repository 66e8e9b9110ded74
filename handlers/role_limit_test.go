package handlers

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// TestAPlaintextGainsNoPower gives a key whose plaintext an admin knows to owners, in every way, and tries what only owners may.
func TestAPlaintextGainsNoPower(t *testing.T) {
	scopes := []string{"read:api-keys", "write:api-keys", "read:config", "write:config"}
	for name, gain := range map[string]func(s *site, keyID string) error{
		"a transfer": func(s *site, id string) error {
			_, err := s.keyring.TransferKey(s.t.Context(), s.org.Owner, id, s.org.Owner.MemberID)
			return err
		},
		"an edit": func(s *site, id string) error {
			_, err := s.keyring.EditKey(s.t.Context(), s.org.Owner, id, keyring.KeyEdit{OwnerID: &s.org.Owner.MemberID})
			return err
		},
		"a promotion": func(s *site, _ string) error {
			_, err := s.keyring.ChangeMember(s.t.Context(), s.org.Owner, s.org.Admin.MemberID, keyring.MemberEdit{Role: account.Owner})
			return err
		},
		"a demotion and a promotion": func(s *site, _ string) error {
			for _, role := range []account.Role{account.Member, account.Owner} {
				if _, err := s.keyring.ChangeMember(s.t.Context(), s.org.Owner, s.org.Admin.MemberID, keyring.MemberEdit{Role: role}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			key, secret := s.key(s.org.Admin, scopes...)
			c := s.with(secret)
			c.call(post, "/v1/workspaces", object{"name": "before"}).expect(t, "what admins may", 201, "")
			if err := gain(s, key.ID); err != nil {
				t.Fatal(err)
			}
			c.call(post, "/v1/bias-profiles", object{"name": "gained"}).expect(t, "a bias profile", 403, "forbidden")
			c.call(post, "/v1/scopes", object{"name": "read:gained"}).expect(t, "a scope", 403, "forbidden")
			c.call(post, "/v1/workspaces", object{"name": "after"}).expect(t, "what admins may", 201, "")
			if got := c.call(get, "/v1/api-keys/"+key.ID, nil); got.text("roleLimit") != "admin" {
				t.Error(got.body)
			}
			if page := s.as(s.org.Owner).get("/account/api-keys/" + key.ID); !strings.Contains(page.body, "acts as admin at most") {
				t.Error("the key's page does not say so")
			}
			if name == "an edit" { // an admin who rotates it reads no more power than it has
				if page := s.as(s.org.Admin).get("/account/api-keys/" + key.ID); !strings.Contains(page.body, "/rotate") {
					t.Error("an admin has no button that rotates it")
				}
				rotation, err := s.keyring.RotateKey(t.Context(), s.org.Admin, key.ID, 0, "")
				if err != nil || rotation.New.RoleLimit != "admin" {
					t.Fatalf("rotated by an admin: %q, %v", rotation.New.RoleLimit, err)
				}
				key = rotation.New
			}
			rotation, err := s.keyring.RotateKey(t.Context(), s.org.Owner, key.ID, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			s.with(rotation.Plaintext.Reveal()).call(post, "/v1/bias-profiles", object{"name": "rotated"}).expect(t, "the successor", 201, "")
			if page := s.as(s.org.Owner).get("/account/api-keys/" + rotation.New.ID); strings.Contains(page.body, "acts as admin at most") {
				t.Error("the successor is still limited")
			}
		})
	}
}

// TestADemotedOwnersPlaintextGainsNoPower: a key of somebody who was an owner, and is an admin now, is taken over by an owner.
func TestADemotedOwnersPlaintextGainsNoPower(t *testing.T) {
	for name, take := range map[string]func(s *site, keyID string) error{
		"a transfer": func(s *site, id string) error {
			_, err := s.keyring.TransferKey(s.t.Context(), s.org.Owner, id, s.org.Owner.MemberID)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			become := func(role account.Role) {
				if _, err := s.keyring.ChangeMember(t.Context(), s.org.Owner, s.org.Admin.MemberID, keyring.MemberEdit{Role: role}); err != nil {
					t.Fatal(err)
				}
			}
			become(account.Owner)
			was := s.org.Admin
			was.Role = account.Owner
			key, secret := s.key(was, "read:api-keys", "write:config")
			s.with(secret).call(post, "/v1/scopes", object{"name": "read:before"}).expect(t, "as an owner", 201, "")
			become(account.Admin)
			if err := take(s, key.ID); err != nil {
				t.Fatal(err)
			}
			s.with(secret).call(post, "/v1/scopes", object{"name": "read:gained"}).expect(t, "after the transfer", 403, "forbidden")
			if events := s.as(s.org.Owner).get("/account/api-keys/" + key.ID); strings.Count(events.body, "Acts at most as") != 2 { // when it was issued, and now
				t.Error("the audit log does not say that the limit was lowered")
			}
			if got := s.with(secret).call(get, "/v1/api-keys/"+key.ID, nil); got.text("roleLimit") != "admin" {
				t.Error(got.body)
			}
		})
	}
}

// TestALeaversPlaintextRegainsNoPower: the keys of somebody who left do nothing in Moonlatch's own API, and go on doing nothing
// there for another owner until they are rotated.
func TestALeaversPlaintextRegainsNoPower(t *testing.T) {
	suspend, remove := keyring.MemberEdit{Status: account.Suspended, Keys: keyring.LeaveKeys}, keyring.MemberEdit{Status: account.Removed, Keys: keyring.LeaveKeys}
	for name, c := range map[string]struct {
		role  account.Role
		leave keyring.MemberEdit
		take  func(s *site, key apikey.Key) error // nil when leaving gave the keys away
	}{
		"suspended, then transferred": {account.Admin, suspend, func(s *site, key apikey.Key) error {
			_, err := s.keyring.TransferKey(s.t.Context(), s.org.Owner, key.ID, s.org.Owner.MemberID)
			return err
		}},
		"an owner removed, then edited": {account.Owner, remove, func(s *site, key apikey.Key) error {
			_, err := s.keyring.EditKey(s.t.Context(), s.org.Owner, key.ID, keyring.KeyEdit{OwnerID: &s.org.Owner.MemberID})
			return err
		}},
		"suspended, then all transferred": {account.Owner, suspend, func(s *site, key apikey.Key) error {
			_, err := s.keyring.TransferAllKeys(s.t.Context(), s.org.Owner, key.OwnerID, s.org.Owner.MemberID)
			return err
		}},
		"suspended with a transfer": {account.Admin, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.TransferKeys}, nil},
		"removed with a transfer":   {account.Owner, keyring.MemberEdit{Status: account.Removed, Keys: keyring.TransferKeys}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			change := func(edit keyring.MemberEdit) {
				t.Helper()
				if _, err := s.keyring.ChangeMember(t.Context(), s.org.Owner, s.org.Admin.MemberID, edit); err != nil {
					t.Fatal(err)
				}
			}
			if c.role != account.Admin {
				change(keyring.MemberEdit{Role: c.role})
			}
			was := s.org.Admin
			was.Role = c.role
			key, secret := s.key(was, "read:api-keys", "write:api-keys")
			leave := c.leave
			if leave.Keys == keyring.TransferKeys {
				leave.Heir = s.org.Owner.MemberID
			}
			change(leave)
			if c.take != nil {
				s.with(secret).call(post, "/v1/api-keys", object{"name": "left", "scopes": []string{"read:api-keys"}}).expect(t, "of who has left", 403, "forbidden")
				if err := c.take(s, key); err != nil {
					t.Fatal(err)
				}
			}
			s.with(secret).call(post, "/v1/api-keys", object{"name": "regained", "scopes": []string{"read:api-keys"}}).expect(t, "for another owner", 403, "forbidden")
			if got := s.with(secret).call(get, "/v1/forward-auth?scope=read:api-keys", nil); got.status != 200 {
				t.Errorf("a gateway is told %d", got.status)
			}
			rotation, err := s.keyring.RotateKey(t.Context(), s.org.Owner, key.ID, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			s.with(rotation.Plaintext.Reveal()).call(post, "/v1/api-keys", object{"name": "rotated", "scopes": []string{"read:api-keys"}}).expect(t, "the successor", 201, "")
		})
	}
}

// TestARotationIsLimitedToWhoReadsIt: an admin who rotates an owner's key gets a key that acts as an admin.
func TestARotationIsLimitedToWhoReadsIt(t *testing.T) {
	s := newSite(t)
	key, _ := s.key(s.org.Owner, "read:chat")
	rotation, err := s.keyring.RotateKey(t.Context(), s.org.Admin, key.ID, 0, "")
	if err != nil || rotation.New.RoleLimit != "admin" || rotation.New.OwnerID != s.org.Owner.MemberID {
		t.Errorf("%q, %v", rotation.New.RoleLimit, err)
	}
}
