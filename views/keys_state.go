package views

import (
	"net/url"
	"strconv"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// ListState is what the list's address says, already recognised. The query's names: q, status, owner, environment,
// scope, profile, workspace, process, expires, unused, live, orphaned, breaking, sort, size; and cursor, which is the page's and not the state's.
type ListState struct {
	apikey.Filter
	Process string      // the id of the process whose list it is; empty for the list of all keys. It is in the path, not the query
	Sort    apikey.Sort // the zero Sort means apikey.Newest
	Size    int         // rows a page, one of PageSizes; 0 means the default
}

// PageSizes are the numbers of rows that a page of the list can have; the first is the default, with which a
// second visit costs less than 10 KB.
var PageSizes = []int{25, 50, 100}

// Query writes the state as the list's address carries it: without what is empty or the default.
func (s ListState) Query() url.Values {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	days := func(name string, n int) {
		if n > 0 {
			q.Set(name, strconv.Itoa(n))
		}
	}
	flag := func(name string, on bool) {
		if on {
			q.Set(name, "1")
		}
	}
	set("q", s.Search)
	set("status", string(s.Status))
	set("owner", s.OwnerID)
	set("environment", string(s.Environment))
	set("scope", s.Scope)
	set("profile", s.ProfileID)
	set("workspace", s.WorkspaceID)
	set("process", s.ProcessID)
	days("expires", s.ExpiresWithin)
	days("unused", s.UnusedFor)
	flag("live", s.Live)
	flag("orphaned", s.Orphaned)
	flag("breaking", s.BreaksPolicy)
	if s.Sort.By != "" && s.Sort != apikey.Newest {
		q.Set("sort", s.Sort.String())
	}
	if s.Size != PageSizes[0] {
		days("size", s.Size)
	}
	return q
}

// ExportPath is where the keys that the state's filter lets through are downloaded.
func (s ListState) ExportPath() string {
	if s.Process != "" {
		s.ProcessID = s.Process
	}
	q := s.Query()
	q.Del("sort")
	q.Del("size")
	return withQuery(KeysExportPath, q)
}

// Path is the list in this state, from its first page.
func (s ListState) Path() string { return s.at("") }

// home is the list as somebody finds it who comes without any wishes.
func (s ListState) home() string {
	if s.Process != "" {
		return ProcessKeysPath(s.Process)
	}
	return KeysPath
}

// creation is where a key is made that belongs into the list.
func (s ListState) creation() string { return s.home() + "/new" }

func (s ListState) at(cursor string) string {
	q := s.Query()
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	if len(q) == 0 {
		return s.home()
	}
	return s.home() + "?" + q.Encode()
}
