package handlers

import (
	"net/http"

	"github.com/moonlatch/moonlatch/internal/account"
)

const (
	patch = http.MethodPatch
	del   = http.MethodDelete
	every = "*" // whatever the method, also one that nobody has heard of
)

// apiRoutes is the part of the table that programs come for. openapi.yaml says what each takes and answers; a test
// holds the two together.
var apiRoutes = []route{
	{post, "/v1/auth/login", signingIn, (*handler).apiLogIn},
	{post, "/v1/auth/logout", bearer(account.EndSession), (*handler).apiLogOut},

	{post, "/v1/api-keys", bearer(account.IssueKey), (*handler).apiIssueKey},
	{get, "/v1/api-keys", bearer(account.ReadKeys), (*handler).apiListKeys},
	{get, "/v1/api-keys/:id", bearer(account.ReadKeys), (*handler).apiGetKey},
	{patch, "/v1/api-keys/:id", bearer(account.EditKey), (*handler).apiUpdateKey},
	{del, "/v1/api-keys/:id", bearer(account.RevokeKey), (*handler).apiRevokeKey},
	{post, "/v1/api-keys/:id/rotate", bearer(account.RotateKey), (*handler).apiRotateKey},
	{get, "/v1/api-keys/:id/usage", bearer(account.ReadKeys), (*handler).apiKeyUsage},
	{post, "/v1/processes/:id/api-keys", bearer(account.IssueKey), (*handler).apiIssueProcessKey},
	{get, "/v1/processes/:id/api-keys", bearer(account.ReadKeys), (*handler).apiListProcessKeys},

	{get, "/v1/audit-events", bearer(account.ReadAudit), (*handler).apiListEvents},
	{get, apiExportAuditPath, bearer(account.ReadAudit), (*handler).apiExportEvents},
	{get, "/v1/security-events", bearer(account.ReadAudit), (*handler).apiListSecurityEvents},
	{get, apiExportSecurityPath, bearer(account.ReadAudit), (*handler).apiExportSecurityEvents},
	{get, "/v1/bias-profiles", bearer(account.ReadConfig), (*handler).apiListProfiles},
	{post, "/v1/bias-profiles", bearer(account.CreateProfile), (*handler).apiCreateProfile},
	{get, "/v1/bias-profiles/:id", bearer(account.ReadConfig), (*handler).apiGetProfile},
	{patch, "/v1/bias-profiles/:id", bearer(account.EditProfile), (*handler).apiUpdateProfile},
	{del, "/v1/bias-profiles/:id", bearer(account.DeleteProfile).within(manyRowsTimeout), (*handler).apiDeleteProfile},
	{get, "/v1/scopes", bearer(account.ReadConfig), (*handler).apiListScopes},
	{post, "/v1/scopes", bearer(account.CreateScope), (*handler).apiCreateScope},
	{get, "/v1/scopes/:name", bearer(account.ReadConfig), (*handler).apiGetScope},
	{patch, "/v1/scopes/:name", bearer(account.EditScope), (*handler).apiUpdateScope},
	{del, "/v1/scopes/:name", bearer(account.DeleteScope), (*handler).apiDeleteScope},
	{get, "/v1/workspaces", bearer(account.ReadConfig), (*handler).apiListWorkspaces},
	{post, "/v1/workspaces", bearer(account.CreateWorkspace), (*handler).apiCreateWorkspace},
	{get, "/v1/workspaces/:id", bearer(account.ReadConfig), (*handler).apiGetWorkspace},
	{patch, "/v1/workspaces/:id", bearer(account.RenameWorkspace), (*handler).apiUpdateWorkspace},
	{del, "/v1/workspaces/:id", bearer(account.DeleteWorkspace), (*handler).apiDeleteWorkspace},
	{get, "/v1/processes", bearer(account.ReadConfig), (*handler).apiListProcesses},
	{post, "/v1/processes", bearer(account.CreateProcess), (*handler).apiCreateProcess},
	{get, "/v1/processes/:id", bearer(account.ReadConfig), (*handler).apiGetProcess},
	{patch, "/v1/processes/:id", bearer(account.RenameProcess), (*handler).apiUpdateProcess},
	{del, "/v1/processes/:id", bearer(account.DeleteProcess), (*handler).apiDeleteProcess},
	{get, "/v1/members", bearer(account.ReadMembers), (*handler).apiListMembers},
	{post, "/v1/members", bearer(account.InviteMember), (*handler).apiInviteMember},
	{get, "/v1/members/:id", bearer(account.ReadMembers), (*handler).apiGetMember},
	{patch, "/v1/members/:id", bearer(account.ChangeRole).within(manyRowsTimeout), (*handler).apiUpdateMember},
	{del, "/v1/members/:id", bearer(account.RemoveMember).within(manyRowsTimeout), (*handler).apiRemoveMember},

	{post, verifyPath, bearer(account.VerifyKey), (*handler).apiVerify},
	{every, forwardAuthPath, public, (*handler).forwardAuth},
}
