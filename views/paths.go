package views

import (
	"net/url"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// Where the pages are. Forms post to the path that shows them.
const (
	HomePath            = "/"
	SignInPath          = "/sign-in"
	SignOutPath         = "/sign-out"
	AccountPath         = "/account"
	RenamePath          = "/account/name"
	PasswordPath        = "/account/password"
	SessionsPath        = "/account/sessions" // POST: end=<session id>, or everywhere=1
	KeysPath            = "/account/api-keys"
	KeysExportPath      = "/account/api-keys/export"
	NewKeyPath          = "/account/api-keys/new"
	KeyOwnersPath       = "/key-owners"
	KeyOwnersExportPath = "/key-owners/export"
	ProcessesPath       = "/processes"
	WorkspacesPath      = "/workspaces"
	ProfilesPath        = "/bias-profiles"
	NewProfilePath      = "/bias-profiles/new"
	ScopesPath          = "/scopes"
	NewScopePath        = "/scopes/new"
	PolicyPath          = "/key-policy"
	EditPolicyPath      = "/key-policy/edit"
	MembersPath         = "/members"
	AuditPath           = "/audit-log"
	DocsPath            = "/docs"
	OpenAPIPath         = "/openapi.json"
)

// KeyPath is a key's own page.
func KeyPath(id string) string { return KeysPath + "/" + url.PathEscape(id) }

// ProfilePath is a bias profile's own page.
func ProfilePath(id string) string { return ProfilesPath + "/" + url.PathEscape(id) }

// DuplicatePath is the form of a new profile, filled in from another.
func DuplicatePath(id string) string {
	return NewProfilePath + "?" + url.Values{"from": {id}, "return": {ProfilesPath}}.Encode()
}

// carriersPath is the list of the keys that carry a profile.
func carriersPath(id string) string { return KeysPath + "?" + url.Values{"profile": {id}}.Encode() }

// ChangePath is where a change to one key is asked for and made: /account/api-keys/<id>/revoke. The page that it
// came from goes along as return and is where the viewer is sent back to; empty for the list.
func ChangePath(id string, change apikey.Change, back string) string {
	return withReturn(KeyPath(id)+"/"+string(change), back)
}

// ScopePath is where a change to one scope is asked for and made: /scopes/read:chat/retire. Its change is edit, retire,
// restore or delete.
func ScopePath(name, change string) string {
	return ScopesPath + "/" + url.PathEscape(name) + "/" + change
}

// ProcessPath is a process's own page.
func ProcessPath(id string) string { return ProcessesPath + "/" + url.PathEscape(id) }

// ConfigurationPath is a process's Configuration.
func ConfigurationPath(id string) string { return ProcessPath(id) + "/configuration" }

// ProcessKeysPath is the tab of a process's Configuration with its keys.
func ProcessKeysPath(id string) string { return ConfigurationPath(id) + "/api-keys" }

// BulkPath is where a change to several keys (Disable or Revoke) is asked for and made, with their ids as the
// query's and the form's id.
func BulkPath(change apikey.Change) string { return KeysPath + "/" + string(change) }

func withReturn(path, back string) string {
	if back == "" || back == KeysPath {
		return path
	}
	return path + "?" + url.Values{"return": {back}}.Encode()
}

// backTo is where a dialog's "Cancel" leads. Only a path of our own will do: a link elsewhere came from nobody here. Of
// what is about keys, an empty one stands for their list.
func backTo(back string) string {
	if len(back) == 0 || back[0] != '/' || (len(back) > 1 && (back[1] == '/' || back[1] == '\\')) {
		return KeysPath
	}
	return back
}
