package handlers

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
)

// route is a promise: who may ask for this path with this method, how long it may take, and what answers.
type route struct {
	method, path string
	policy       policy
	handle       func(*handler, echo.Context) error
}

const (
	get  = http.MethodGet
	post = http.MethodPost
)

// routes is, with apiRoutes, the whole security policy of the server; beside them stand files and figures that are
// anybody's (New). A form posts to the path that shows it.
var routes = []route{
	{get, livePath, probe, (*handler).healthy},
	{get, readyPath, probe, (*handler).isReady},
	{get, jwksPath, probe, (*handler).jwks},
	{get, "/openapi.json", probe, (*handler).openAPI},

	{get, "/docs", public, (*handler).apiDocs},
	{get, "/", signedIn, (*handler).home},
	{get, "/sign-in", public, (*handler).signInPage},
	{post, "/sign-in", signingIn, (*handler).signIn},
	{post, "/sign-out", public, (*handler).signOut},
	{get, "/setup/:token", signingIn, (*handler).setUpPage},
	{post, "/setup/:token", signingIn, (*handler).setUp},

	{get, "/join/:token", signingIn, (*handler).joinPage},
	{post, "/join/:token", signingIn, (*handler).join},

	{get, "/confirm-email/:token", signingIn, (*handler).confirmEmailPage},
	{post, "/confirm-email/:token", signingIn, (*handler).confirmEmail},

	{get, "/account", signedIn, (*handler).accountPage},
	{get, "/account/name", may(account.RenameSelf), (*handler).renamePage},
	{post, "/account/name", may(account.RenameSelf), (*handler).rename},
	{get, "/account/password", may(account.ChangePassword), (*handler).passwordPage},
	{post, "/account/password", may(account.ChangePassword), (*handler).changePassword},
	{get, "/account/sessions", signedIn, (*handler).sessionsPage},
	{post, "/account/sessions", may(account.EndSession), (*handler).endSessions},

	{get, "/scopes", may(account.ReadConfig), (*handler).scopesPage},
	{get, "/scopes/new", may(account.CreateScope), (*handler).newScopePage},
	{post, "/scopes/new", may(account.CreateScope), (*handler).newScope},
	{get, "/scopes/:name/edit", may(account.EditScope), (*handler).editScopePage},
	{post, "/scopes/:name/edit", may(account.EditScope), (*handler).editScope},
	{get, "/scopes/:name/retire", may(account.RetireScope), (*handler).retireScopePage},
	{post, "/scopes/:name/retire", may(account.RetireScope), (*handler).retireScope},
	{get, "/scopes/:name/restore", may(account.RestoreScope), (*handler).restoreScopePage},
	{post, "/scopes/:name/restore", may(account.RestoreScope), (*handler).restoreScope},
	{get, "/scopes/:name/delete", may(account.DeleteScope), (*handler).deleteScopePage},
	{post, "/scopes/:name/delete", may(account.DeleteScope), (*handler).deleteScope},

	{get, "/audit-log", may(account.ReadAudit), (*handler).auditPage},
	{get, "/audit-log/check", may(account.ReadAudit), (*handler).checkAudit},
	{get, exportAuditPath, may(account.ReadAudit), (*handler).exportAudit},
	{get, "/audit-log/security", may(account.ReadAudit), (*handler).securityEventsPage},
	{get, exportSecurityPath, may(account.ReadAudit), (*handler).exportSecurityEvents},

	{get, "/key-policy", may(account.ReadConfig), (*handler).keyPolicyPage},
	{get, "/key-policy/edit", may(account.ChangePolicy), (*handler).editKeyPolicyPage},
	{post, "/key-policy/edit", may(account.ChangePolicy), (*handler).editKeyPolicy},

	{get, "/key-owners", may(account.ReadKeys), (*handler).keyOwnersPage},
	{get, exportKeyOwnersPath, may(account.ReadKeys), (*handler).exportKeyOwners},
	{get, "/key-owners/:id/transfer", may(account.TransferKey), (*handler).transferAllPage},
	{post, "/key-owners/:id/transfer", may(account.TransferKey).within(manyRowsTimeout), (*handler).transferAll},
	{get, "/key-owners/:id/revoke", may(account.RevokeKey), (*handler).revokeAllPage},
	{post, "/key-owners/:id/revoke", may(account.RevokeKey).within(manyRowsTimeout), (*handler).revokeAll},

	{get, "/account/api-keys", may(account.ReadKeys), (*handler).keysPage},
	{get, exportKeysPath, may(account.ReadKeys), (*handler).exportKeys},
	{get, "/account/api-keys/new", may(account.IssueKey), (*handler).newKeyPage},
	{post, "/account/api-keys/new", may(account.IssueKey), (*handler).newKey},
	{get, "/account/api-keys/disable", may(account.DisableKey), (*handler).disableKeysPage},
	{post, "/account/api-keys/disable", may(account.DisableKey), (*handler).disableKeys},
	{get, "/account/api-keys/revoke", may(account.RevokeKey), (*handler).revokeKeysPage},
	{post, "/account/api-keys/revoke", may(account.RevokeKey), (*handler).revokeKeys},
	{get, "/account/api-keys/:id", may(account.ReadKeys), (*handler).keyPage},
	{get, "/account/api-keys/:id/edit", may(account.EditKey), (*handler).editKeyPage},
	{post, "/account/api-keys/:id/edit", may(account.EditKey), (*handler).editKey},
	{get, "/account/api-keys/:id/rotate", may(account.RotateKey), (*handler).rotateKeyPage},
	{post, "/account/api-keys/:id/rotate", may(account.RotateKey), (*handler).rotateKey},
	{get, "/account/api-keys/:id/disable", may(account.DisableKey), (*handler).disableKeyPage},
	{post, "/account/api-keys/:id/disable", may(account.DisableKey), (*handler).disableKey},
	{get, "/account/api-keys/:id/enable", may(account.EnableKey), (*handler).enableKeyPage},
	{post, "/account/api-keys/:id/enable", may(account.EnableKey), (*handler).enableKey},
	{get, "/account/api-keys/:id/revoke", may(account.RevokeKey), (*handler).revokeKeyPage},
	{post, "/account/api-keys/:id/revoke", may(account.RevokeKey), (*handler).revokeKey},
	{get, "/account/api-keys/:id/delete", may(account.DeleteKey), (*handler).deleteKeyPage},
	{post, "/account/api-keys/:id/delete", may(account.DeleteKey), (*handler).deleteKey},
	{get, "/account/api-keys/:id/transfer", may(account.TransferKey), (*handler).transferKeyPage},
	{post, "/account/api-keys/:id/transfer", may(account.TransferKey), (*handler).transferKey},

	{get, "/members", may(account.ReadMembers), (*handler).membersPage},
	{get, "/members/invite", may(account.InviteMember), (*handler).invitePage},
	{post, "/members/invite", may(account.InviteMember), (*handler).invite},
	{get, "/members/:id", may(account.ReadMembers), (*handler).memberPage},
	{get, "/members/:id/role", may(account.ChangeRole), (*handler).memberRolePage},
	{post, "/members/:id/role", may(account.ChangeRole), (*handler).memberRole},
	{get, "/members/:id/email", may(account.StartEmailChange), (*handler).emailPage},
	{post, "/members/:id/email", may(account.StartEmailChange), (*handler).startEmailChange},
	{get, "/members/:id/email-cancel", may(account.CancelEmailChange), (*handler).cancelEmailPage},
	{post, "/members/:id/email-cancel", may(account.CancelEmailChange), (*handler).cancelEmailChange},
	{get, "/members/:id/suspend", may(account.SuspendMember), (*handler).suspendMemberPage},
	{post, "/members/:id/suspend", may(account.SuspendMember).within(manyRowsTimeout), (*handler).suspendMember},
	{get, "/members/:id/reinstate", may(account.ReinstateMember), (*handler).reinstateMemberPage},
	{post, "/members/:id/reinstate", may(account.ReinstateMember), (*handler).reinstateMember},
	{get, "/members/:id/remove", may(account.RemoveMember), (*handler).removeMemberPage},
	{post, "/members/:id/remove", may(account.RemoveMember).within(manyRowsTimeout), (*handler).removeMember},
	{get, "/members/:id/sign-out", may(account.SignOutMember), (*handler).signOutMemberPage},
	{post, "/members/:id/sign-out", may(account.SignOutMember), (*handler).signOutMember},
	{get, "/invitations/:id/withdraw", may(account.WithdrawInvite), (*handler).withdrawInvitationPage},
	{post, "/invitations/:id/withdraw", may(account.WithdrawInvite), (*handler).withdrawInvitation},

	{get, "/processes", may(account.ReadConfig), (*handler).processesPage},
	{get, "/processes/new", may(account.CreateProcess), (*handler).newProcessPage},
	{post, "/processes/new", may(account.CreateProcess), (*handler).newProcess},
	{get, "/processes/:id", may(account.ReadConfig), (*handler).processPage},
	{get, "/processes/:id/configuration", may(account.ReadConfig), (*handler).configurationPage},
	{get, "/processes/:id/configuration/api-keys", may(account.ReadKeys), (*handler).keysPage},
	{get, "/processes/:id/configuration/api-keys/new", may(account.IssueKey), (*handler).newKeyPage},
	{post, "/processes/:id/configuration/api-keys/new", may(account.IssueKey), (*handler).newKey},
	{get, "/processes/:id/rename", may(account.RenameProcess), ofProcess((*handler).renamePlacePage)},
	{post, "/processes/:id/rename", may(account.RenameProcess), ofProcess((*handler).renamePlace)},
	{get, "/processes/:id/archive", may(account.ArchiveProcess), ofProcess((*handler).archivePlacePage)},
	{post, "/processes/:id/archive", may(account.ArchiveProcess), ofProcess((*handler).archivePlace)},
	{get, "/processes/:id/restore", may(account.RestoreProcess), ofProcess((*handler).restorePlacePage)},
	{post, "/processes/:id/restore", may(account.RestoreProcess), ofProcess((*handler).restorePlace)},
	{get, "/processes/:id/delete", may(account.DeleteProcess), ofProcess((*handler).deletePlacePage)},
	{post, "/processes/:id/delete", may(account.DeleteProcess), ofProcess((*handler).deletePlace)},
	{get, "/workspaces/new", may(account.CreateWorkspace), (*handler).newWorkspacePage},
	{post, "/workspaces/new", may(account.CreateWorkspace), (*handler).newWorkspace},
	{get, "/workspaces/:id/rename", may(account.RenameWorkspace), ofWorkspace((*handler).renamePlacePage)},
	{post, "/workspaces/:id/rename", may(account.RenameWorkspace), ofWorkspace((*handler).renamePlace)},
	{get, "/workspaces/:id/archive", may(account.ArchiveWorkspace), ofWorkspace((*handler).archivePlacePage)},
	{post, "/workspaces/:id/archive", may(account.ArchiveWorkspace), ofWorkspace((*handler).archivePlace)},
	{get, "/workspaces/:id/restore", may(account.RestoreWorkspace), ofWorkspace((*handler).restorePlacePage)},
	{post, "/workspaces/:id/restore", may(account.RestoreWorkspace), ofWorkspace((*handler).restorePlace)},
	{get, "/workspaces/:id/delete", may(account.DeleteWorkspace), ofWorkspace((*handler).deletePlacePage)},
	{post, "/workspaces/:id/delete", may(account.DeleteWorkspace), ofWorkspace((*handler).deletePlace)},

	{get, "/bias-profiles", may(account.ReadConfig), (*handler).profilesPage},
	{get, "/bias-profiles/new", may(account.CreateProfile), (*handler).newProfilePage},
	{post, "/bias-profiles/new", may(account.CreateProfile), (*handler).newProfile},
	{get, "/bias-profiles/:id", may(account.ReadConfig), (*handler).profilePage},
	{get, "/bias-profiles/:id/edit", may(account.EditProfile), (*handler).editProfilePage},
	{post, "/bias-profiles/:id/edit", may(account.EditProfile), (*handler).editProfile},
	{get, "/bias-profiles/:id/delete", may(account.DeleteProfile), (*handler).deleteProfilePage},
	{post, "/bias-profiles/:id/delete", may(account.DeleteProfile).within(manyRowsTimeout), (*handler).deleteProfile},
}

// routesByName are the routes by method and path.
func routesByName() map[string]route {
	out := map[string]route{}
	for _, r := range slices.Concat(routes, apiRoutes) {
		out[r.method+" "+r.path] = r
		if r.method == get {
			out[http.MethodHead+" "+r.path] = r
		}
	}
	return out
}
