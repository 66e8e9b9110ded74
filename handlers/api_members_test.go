package handlers

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// askAllOfMembers asks, with an owner's session, for every answer about members that is described, but for the rare ones.
func askAllOfMembers(t *testing.T, session *client, other storetest.Org) {
	t.Helper()
	s := session.site
	const members = "/v1/members"
	own, support, nobody := members+"/"+s.org.Owner.MemberID, members+"/"+s.org.Support.MemberID, members+"/"+uuid.NewString()
	page, err := s.keyring.Members(t.Context(), other.Owner, account.MemberFilter{}, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	plain := s.client("Authorization", session.header.Get("Authorization"), "Content-Type", "text/plain")
	session.call(get, members+"?cursor="+page.Next, nil).expect(t, "another organisation's cursor", 404, "not_found")
	session.call(get, members+"?limit=0", nil).expect(t, "a bad page", 400, "validation_failed")
	session.call(post, members, object{"email": "new@example.com", "role": "member"}).expect(t, "invite", 201, "")
	session.call(post, members, object{}).expect(t, "invite nobody", 400, "validation_failed")
	plain.call(post, members, "x").expect(t, "invite in text", 415, "unsupported_media_type")
	session.call(get, own+"?x=y", nil).expect(t, "get with a query", 400, "validation_failed")
	session.call(patch, nobody, object{"role": "admin"}).expect(t, "change nobody", 404, "not_found")
	session.call(patch, own, object{"role": "admin"}).expect(t, "demote the last owner", 409, "state_conflict")
	session.call(patch, own, object{}).expect(t, "change nothing", 400, "validation_failed")
	plain.call(patch, own, "x").expect(t, "change in text", 415, "unsupported_media_type")
	session.call(patch, support, object{"role": "admin"}).expect(t, "promote", 200, "")
	session.call(del, nobody, nil).expect(t, "remove nobody", 404, "not_found")
	session.call(del, own, nil).expect(t, "remove the last owner", 409, "state_conflict")
	session.call(del, support+"?keys=x", nil).expect(t, "remove, and what?", 400, "validation_failed")
	session.call(del, support, nil).expect(t, "remove", 200, "")
}

// TestProgramsRunTheOrganisation does all that the document says about members, and holds every answer against it.
func TestProgramsRunTheOrganisation(t *testing.T) {
	databaseURL := storetest.URL(t)
	s := replica(t, databaseURL)
	s.org = storetest.Organisation(t, s.store)
	owner, support := s.with(s.token(s.org.Owner)), s.with(s.token(s.org.Support))
	other := storetest.Organisation(t, s.store)
	admin := "/v1/members/" + s.org.Admin.MemberID

	var emails []string
	for path := "/v1/members?limit=2"; path != ""; {
		page := support.call(get, path, nil).expect(t, "list", 200, "")
		for _, item := range page.json["items"].([]any) {
			emails = append(emails, item.(object)["email"].(string))
		}
		if path = ""; page.text("nextCursor") != "" {
			path = "/v1/members?limit=2&cursor=" + page.text("nextCursor")
		}
	}
	if got, want := strings.Join(emails, " "), strings.Join([]string{s.org.Admin.Email, s.org.Member.Email, s.org.Owner.Email, s.org.Support.Email}, " "); got != want {
		t.Errorf("the pages list %s", got)
	}
	for query, want := range map[string]int{"role=owner": 1, "status=suspended": 0, "q=" + s.org.Name: 4, "q=%25": 0, "role=member&status=active": 1} {
		if got := owner.call(get, "/v1/members?"+query, nil).expect(t, query, 200, ""); len(got.json["items"].([]any)) != want {
			t.Errorf("%s: %s", query, got.body)
		}
	}
	for _, query := range []string{"role=king", "status=gone", "limit=0", "limit=101", "cursor=x", "sort=x", "q=" + strings.Repeat("x", 201), "role=owner&role=admin"} {
		owner.call(get, "/v1/members?"+query, nil).expect(t, query, 400, "validation_failed")
	}

	made := owner.call(post, "/v1/members", object{"email": "Noor@Example.com", "role": "admin"}).expect(t, "invite", 201, "")
	link := made.text("invitation", "url")
	if made.text("invitation", "email") != "noor@example.com" || !strings.HasPrefix(link, "http://localhost/join/") || made.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the invitation is %s", made.body)
	}
	if got := s.visitor().get(strings.TrimPrefix(link, "http://localhost")); got.status != 200 {
		t.Errorf("its link: %d", got.status)
	}
	for _, body := range []object{{"email": "x", "role": "admin"}, {"email": "a@example.com", "role": "king"}, {"email": "a@example.com"}, {"email": s.org.Admin.Email, "role": "member"},
		{"email": "a\x00@example.com", "role": "member"}, {"email": "a@example.com", "role": "member", "name": "A"}, {"email": nil, "role": "member"}} {
		owner.call(post, "/v1/members", body).expect(t, "invite", 400, "validation_failed")
	}

	key, _ := s.key(s.org.Admin, "read:chat")
	if got := owner.call(get, admin, nil).expect(t, "get", 200, ""); got.text("liveKeys") != "1" || got.text("role") != "admin" || got.text("lastSeenAt") != "" {
		t.Errorf("the member is %s", got.body)
	}
	for _, body := range []object{{}, {"role": "king"}, {"status": "removed"}, {"status": "suspended", "keys": "burn"}, {"keys": "disable"}, {"role": "admin", "keysTo": s.org.Owner.MemberID}, {"name": "x"},
		{"status": "suspended", "keys": "transfer"}, {"status": "suspended", "keys": "transfer", "keysTo": s.org.Support.MemberID}, {"status": "suspended", "keys": "transfer", "keysTo": other.Owner.MemberID},
		{"status": "suspended", "keys": "transfer", "keysTo": "x"}, {"role": nil}, {"status": "active", "keys": "leave"}} {
		owner.call(patch, admin, body).expect(t, "change", 400, "validation_failed")
	}
	for _, call := range []func() reply{
		func() reply { return owner.call(patch, "/v1/members/"+s.org.Owner.MemberID, object{"role": "admin"}) },
		func() reply {
			return owner.call(patch, "/v1/members/"+s.org.Owner.MemberID, object{"status": "suspended"})
		},
		func() reply { return owner.call(del, "/v1/members/"+s.org.Owner.MemberID, nil) },
	} {
		if got := call().expect(t, "the last owner", 409, "state_conflict"); !strings.Contains(got.body, "Make another member an owner first.") {
			t.Error(got.body)
		}
	}
	if got := owner.call(patch, admin, object{"role": "support", "status": "suspended"}).expect(t, "both", 200, ""); got.text("role") != "support" || got.text("status") != "suspended" {
		t.Errorf("both at once: %s", got.body)
	}
	if got := owner.call(patch, admin, object{"status": "active"}).expect(t, "reinstate", 200, ""); got.text("status") != "active" {
		t.Error(got.body)
	}
	for _, query := range []string{"?keys=burn", "?keys=transfer", "?keysTo=" + s.org.Owner.MemberID, "?keys=transfer&keysTo=x", "?permanent=true", "?keys=leave&keys=revoke"} {
		owner.call(del, admin+query, nil).expect(t, query, 400, "validation_failed")
	}
	removed := owner.call(del, admin+"?keys=transfer&keysTo="+s.org.Owner.MemberID, nil).expect(t, "remove", 200, "")
	if removed.text("status") != "removed" || removed.text("liveKeys") != "0" {
		t.Errorf("the removed member is %s", removed.body)
	}
	if got := owner.call(get, "/v1/api-keys/"+key.ID, nil).expect(t, "the key", 200, ""); got.text("ownerId") != s.org.Owner.MemberID || got.text("status") != "active" {
		t.Errorf("the key is %s", got.body)
	}
	owner.call(patch, admin, object{"status": "active"}).expect(t, "let in again", 409, "state_conflict")
	owner.call(del, admin, nil).expect(t, "remove again", 200, "")

	if _, err := storetest.Unaudited(t, databaseURL).ExecContext(t.Context(), `UPDATE key_policies SET disable_departed = true WHERE org_id = $1`, s.org.ID); err != nil {
		t.Fatal(err)
	}
	owner.call(patch, "/v1/members/"+s.org.Support.MemberID, object{"status": "suspended", "keys": "leave"}).expect(t, "against the policy", 400, "validation_failed")
}
