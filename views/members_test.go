package views

import (
	"regexp"
	"strings"
	"testing"

	"github.com/a-h/templ"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
)

// memberPages is every page about members and invitations, filled with hostile text.
func memberPages(p Page) map[string]templ.Component {
	seen := noon
	somebody := account.Person{ID: "m2", Email: hostile, Name: hostile, Role: account.Admin, Status: account.Active}
	suspended, removed, self := somebody, somebody, somebody
	suspended.Status, removed.Status, self.ID = account.Suspended, account.Removed, "m1"
	sessions := []Session{{ID: "s1", Address: hostile, UserAgent: hostile, Current: true}}
	invited := Invitation{ID: "i1", Email: hostile, Role: account.Owner, By: somebody, CreatedAt: noon.AddDate(0, 0, -8), ExpiresAt: noon.AddDate(0, 0, -1)}
	wrong := input.Problems{"": hostile, "role": hostile, "email": hostile, "keys": hostile, "keysTo": hostile, "name": hostile, "password": hostile}
	form := MemberForm{Page: p, Member: somebody, Return: hostile, Keys: LiveKeys{3, 1, 1, 1204}, Role: hostile, KeyChoice: "transfer", KeyChoices: []string{"leave", "transfer", "disable", "revoke"},
		HeirID: hostile, Heirs: []account.Person{{ID: "m3", Email: hostile, Name: hostile}}, Sessions: 2, Links: 1, EmailChanges: 2, Problems: wrong}
	own, last, forced := form, form, form
	own.Member, own.Keys, last.LastOwner, forced.KeyChoices, forced.NoneLeft, forced.Heirs = self, LiveKeys{}, true, []string{"disable", "transfer", "revoke"}, true, nil
	return map[string]templ.Component{
		"members": MembersPage(MemberList{Page: p, State: MemberState{Search: hostile, Role: account.Owner, Status: "suspended"}, Cursor: hostile, Newer: "n", Older: hostile,
			Members:     []Member{{Person: somebody, JoinedAt: noon, SeenAt: &seen, LiveKeys: 1000, ManyKeys: true}, {Person: suspended}, {Person: removed, LiveKeys: 1}, {Person: self}},
			Invitations: []Invitation{invited}, MoreInvited: true}),
		"members, none fit":       MembersPage(MemberList{Page: p}),
		"members, one invited":    MembersPage(MemberList{Page: p, State: MemberState{Search: hostile}, Invitations: []Invitation{invited}}),
		"member":                  MemberPage(MemberDetail{Page: p, Member: Member{Person: somebody, SeenAt: &seen}, Keys: LiveKeys{3, 1, 1, 9}, Sessions: sessions}),
		"role":                    ChangeRole(form),
		"role, own":               ChangeRole(own),
		"role, last owner":        ChangeRole(last),
		"suspend":                 SuspendMember(form),
		"suspend, own":            SuspendMember(own),
		"suspend, policy":         SuspendMember(forced),
		"remove":                  RemoveMember(form),
		"remove, own":             RemoveMember(own),
		"remove, last owner":      RemoveMember(last),
		"reinstate":               ReinstateMember(form),
		"sign somebody out":       SignOutMember(form),
		"sign out, own":           SignOutMember(own),
		"invite":                  Invite(InviteForm{Page: p, Return: hostile, Email: hostile, Role: hostile, Problems: wrong}),
		"invitation, once":        ShowInvitation(InvitationOnce{Page: p, Return: hostile, Invitation: invited, Link: "https://keys.example.com/join/TOKEN"}),
		"withdraw":                WithdrawInvitation(Withdrawal{Page: p, Return: hostile, Invitation: invited}),
		"join":                    JoinPage(JoinForm{Page: Page{Now: noon}, Path: "/join/x", Organisation: hostile, Email: hostile, Role: account.Admin, EndsAt: noon, SignedInAs: hostile, Name: hostile, Problems: wrong}),
		"join, address taken":     AddressTaken(Page{Now: noon}, hostile),
		"invitation over, to all": InvitationOver(Page{Now: noon}),
	}
}

func TestTheLinkStandsOnlyWhereItIsEmptied(t *testing.T) {
	html := draw(t, memberPages(as(account.Owner))["invitation, once"])
	rest := regexp.MustCompile(`(?s)<code[^>]* data-plaintext>.*?</code>`).ReplaceAllString(html, "")
	if !strings.Contains(html, "/join/TOKEN") || strings.Contains(rest, "TOKEN") {
		t.Error("the link is missing, or stands where the script does not empty it")
	}
}

func TestOnlyOwnersSeeWaysToChangeMembers(t *testing.T) {
	ways := []string{InvitePath, "/role", "/suspend", "/remove", "/reinstate", "/sign-out\"", "/withdraw", "Signed in"}
	for _, role := range []account.Role{account.Owner, account.Admin, account.Support} {
		all := memberPages(as(role))
		html := strings.ReplaceAll(draw(t, all["members"])+draw(t, all["member"]), `action="`+SignOutPath+`"`, "")
		for _, way := range ways {
			if shown := strings.Contains(html, way) || way == "/sign-out\"" && strings.Contains(html, "/sign-out?"); shown != (role == account.Owner) {
				t.Errorf("%s as %s: shown is %v", way, role, shown)
			}
		}
	}
}
