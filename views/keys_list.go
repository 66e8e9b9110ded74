package views

import (
	"strconv"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/views/ui"
)

// chip is an active filter and the address of the list without it.
type chip struct{ Label, Path string }

// chips lists the active filters in the order of the form.
func (m KeyList) chips() []chip {
	var out []chip
	add := func(on bool, label string, drop func(*ListState)) {
		if on {
			rest := m.State
			drop(&rest)
			out = append(out, chip{label, rest.Path()})
		}
	}
	s := m.State
	add(s.Search != "", "Search: "+s.Search, func(r *ListState) { r.Search = "" })
	add(s.Status != "", "Status: "+s.Status.Label(), func(r *ListState) { r.Status = "" })
	add(s.OwnerID != "", "Owner: "+labelOf(m.Owners, s.OwnerID), func(r *ListState) { r.OwnerID = "" })
	add(s.Environment != "", "Environment: "+environmentLabel(s.Environment), func(r *ListState) { r.Environment = "" })
	add(s.Scope != "", "Scope: "+scopeWords(s.Scope), func(r *ListState) { r.Scope = "" })
	add(s.ProfileID != "", "Bias profile: "+labelOf(m.Profiles, s.ProfileID), func(r *ListState) { r.ProfileID = "" })
	add(s.WorkspaceID != "", "Workspace: "+labelOf(m.Workspaces, s.WorkspaceID), func(r *ListState) { r.WorkspaceID = "" })
	add(s.ProcessID != "", "Process: "+labelOf(m.Processes, s.ProcessID), func(r *ListState) { r.ProcessID = "" })
	add(s.ExpiresWithin > 0, "Expires within "+ui.Count(int64(s.ExpiresWithin), "day"), func(r *ListState) { r.ExpiresWithin = 0 })
	add(s.UnusedFor > 0, "Unused for "+ui.Count(int64(s.UnusedFor), "day"), func(r *ListState) { r.UnusedFor = 0 })
	add(s.Live, "Live: works, or can be enabled", func(r *ListState) { r.Live = false })
	add(s.Orphaned, "Live, and the owner has left", func(r *ListState) { r.Orphaned = false })
	add(s.BreaksPolicy, "Live, and breaks the key policy", func(r *ListState) { r.BreaksPolicy = false })
	return out
}

// cleared is the list without filters, sorted and sized as before.
func (m KeyList) cleared() string {
	s := m.State
	s.Filter = apikey.Filter{}
	return s.Path()
}

// ofProcess says whether the list is confined to a process.
func (m KeyList) ofProcess() bool { return m.Process.ID != "" }

// createLabel is what the button says that makes a key.
func (m KeyList) createLabel() string {
	if m.ofProcess() {
		return "Generate new key"
	}
	return "Create new API key"
}

// createStyle leaves the first place to the button of a page that teaches.
func (m KeyList) createStyle() string {
	if m.NoneYet {
		return "btn-plain"
	}
	return "btn-primary"
}

// here is the list as it is shown, for the way back.
func (m KeyList) here() string { return m.State.at(m.Cursor) }

func (s ListState) sort() apikey.Sort {
	if s.Sort.By == "" {
		return apikey.Newest
	}
	return s.Sort
}

func (s ListState) size() int {
	if s.Size == 0 {
		return PageSizes[0]
	}
	return s.Size
}

func (s ListState) sized(n int) string {
	s.Size = n
	return s.Path()
}

// sortedBy is the list sorted by a column: the other way round when it is already, else in the way that is asked
// for more often: names from A, expiries from the nearest, creation and use from the latest.
func (s ListState) sortedBy(by apikey.Order) string {
	next := apikey.Sort{By: by, Descending: by == apikey.ByCreation || by == apikey.ByUse}
	if now := s.sort(); now.By == by {
		next.Descending = !now.Descending
	}
	s.Sort = next
	return s.Path()
}

// ariaSort is a column's aria-sort; empty for a column that the list is not sorted by.
func (s ListState) ariaSort(by apikey.Order) string {
	switch now := s.sort(); {
	case now.By != by:
		return ""
	case now.Descending:
		return "descending"
	}
	return "ascending"
}

// counted says how many keys are on the page. There is no total: counting a million keys takes longer than the page.
func (m KeyList) counted() string {
	return counted(len(m.Keys), m.Newer+m.Older != "", "key")
}

func (m KeyList) mayPick() bool {
	return m.Viewer.May(actionOf(apikey.Disable)) || m.Viewer.May(actionOf(apikey.Revoke))
}

func statusOptions() []Option {
	var out []Option
	for _, s := range apikey.Statuses {
		out = append(out, Option{Value: string(s), Label: s.Label()})
	}
	return out
}

func environmentOptions() []Option {
	var out []Option
	for _, e := range apikey.Environments {
		out = append(out, Option{Value: string(e), Label: environmentLabel(e)})
	}
	return out
}

func dayOptions(days ...int) []Option {
	var out []Option
	for _, n := range days {
		out = append(out, Option{Value: strconv.Itoa(n), Label: ui.Count(int64(n), "day")})
	}
	return out
}

// chosenDays is the value of a select of days: one that somebody wrote into the address is offered too.
func chosenDays(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// withDays adds a number of days that somebody wrote into the address, so that the select shows what is asked.
func withDays(options []Option, n int) []Option {
	if value := chosenDays(n); value != "" && labelOf(options, value) == value {
		return append(options, dayOptions(n)...)
	}
	return options
}

// pages are the list's neighbouring pages, named for time where the list is in the order of time.
func (m KeyList) pages() ui.Pages {
	p := neighbours("keys", m.State.at, m.Newer, m.Older)
	if m.State.sort() == apikey.Newest {
		p.NewerLabel, p.OlderLabel = "Newer", "Older"
	}
	return p
}
