package views

import (
	"net/url"
	"strconv"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/views/ui"
)

// PlaceKind says whether a place is a workspace or a process. Its text is the word in sentences.
type PlaceKind string

// The places that keys can belong to.
const (
	AWorkspace PlaceKind = "workspace"
	AProcess   PlaceKind = "process"
)

// Place is a workspace or a process.
type Place struct {
	Kind        PlaceKind
	ID          string
	Name        string
	WorkspaceID string // of a process
	Workspace   string // its name
	CreatedAt   time.Time
	ArchivedAt  *time.Time // since when it takes no new keys by itself
	Closed      bool       // a process whose workspace is archived
	EnabledKeys int        // those of a workspace's processes among them
	ManyKeys    bool       // so many that they were counted to EnabledKeys alone
}

// Archived says whether the place takes no new keys.
func (p Place) Archived() bool { return p.ArchivedAt != nil || p.Closed }

// PlaceChange is something that is done to a place.
type PlaceChange string

// What can be done to a workspace or a process.
const (
	RenamePlace  PlaceChange = "rename"
	ArchivePlace PlaceChange = "archive"
	RestorePlace PlaceChange = "restore"
	DeletePlace  PlaceChange = "delete"
)

// placeActions says what each change takes.
var placeActions = map[PlaceKind]map[PlaceChange]account.Action{
	AWorkspace: {RenamePlace: account.RenameWorkspace, ArchivePlace: account.ArchiveWorkspace, RestorePlace: account.RestoreWorkspace, DeletePlace: account.DeleteWorkspace},
	AProcess:   {RenamePlace: account.RenameProcess, ArchivePlace: account.ArchiveProcess, RestorePlace: account.RestoreProcess, DeletePlace: account.DeleteProcess},
}

var placeVerbs = map[PlaceChange]string{RenamePlace: "Rename", ArchivePlace: "Archive", RestorePlace: "Restore", DeletePlace: "Delete"}

// changePath is where a change is asked for and made.
func (p Place) changePath(change PlaceChange, back string) string {
	home := WorkspacesPath
	if p.Kind == AProcess {
		home = ProcessesPath
	}
	path := home + "/" + url.PathEscape(p.ID) + "/" + string(change)
	if back == "" {
		return path
	}
	return path + "?" + url.Values{"return": {back}}.Encode()
}

// changes are what can be done to the place in its state by whoever looks at it.
func (p Place) changes(v Viewer) []PlaceChange {
	archiving := ArchivePlace
	if p.ArchivedAt != nil {
		archiving = RestorePlace
	}
	var out []PlaceChange
	for _, change := range []PlaceChange{RenamePlace, archiving, DeletePlace} {
		if v.May(placeActions[p.Kind][change]) {
			out = append(out, change)
		}
	}
	return out
}

func (p Place) menu(v Viewer, back string) []ui.MenuItem {
	var out []ui.MenuItem
	for _, change := range p.changes(v) {
		out = append(out, ui.MenuItem{Label: placeVerbs[change], Path: p.changePath(change, back), Apart: change == DeletePlace})
	}
	return out
}

// keysPath is the list of the place's keys.
func (p Place) keysPath(filter apikey.Filter) string {
	if p.Kind == AProcess {
		return ListState{Process: p.ID, Filter: filter}.Path()
	}
	filter.WorkspaceID = p.ID
	return ListState{Filter: filter}.Path()
}

// enabledPath is the list of the keys that are counted.
func (p Place) enabledPath() string { return p.keysPath(apikey.Filter{Status: apikey.Enabled}) }

// enabledKeys says how many keys of the place are enabled: "3 enabled keys".
func (p Place) enabledKeys() string {
	switch {
	case p.EnabledKeys == 0:
		return "No enabled keys"
	case p.ManyKeys:
		return "More than " + ui.Count(int64(p.EnabledKeys), "enabled key")
	}
	return ui.Count(int64(p.EnabledKeys), "enabled key")
}

// PlaceRoom is a workspace with its processes.
type PlaceRoom struct {
	Place
	Processes []Place
}

// ProcessList is the screen Processes. Its query: q, archived ("1").
type ProcessList struct {
	Page
	Search   string
	Archived bool // shows what is archived, instead of what takes keys
	Rooms    []PlaceRoom
	NoneYet  bool // the organisation has no workspace at all: the page teaches
}

func processesPath(search string, archived bool) string {
	q := url.Values{}
	if search != "" {
		q.Set("q", search)
	}
	if archived {
		q.Set("archived", "1")
	}
	if len(q) == 0 {
		return ProcessesPath
	}
	return ProcessesPath + "?" + q.Encode()
}

// here is the list as it is shown, for the way back.
func (m ProcessList) here() string { return processesPath(m.Search, m.Archived) }

func (m ProcessList) tabs() []ui.Tab {
	return []ui.Tab{
		{Label: "In use", Path: processesPath(m.Search, false), Current: !m.Archived},
		{Label: "Archived", Path: processesPath(m.Search, true), Current: m.Archived},
	}
}

// newProcessPath is where a process of the workspace is made; empty for any.
func newProcessPath(workspaceID, back string) string {
	q := url.Values{}
	if workspaceID != "" {
		q.Set("workspaceId", workspaceID)
	}
	q.Set("return", back)
	return ProcessesPath + "/new?" + q.Encode()
}

func newWorkspacePath(back string) string {
	return WorkspacesPath + "/new?" + url.Values{"return": {back}}.Encode()
}

func rowID(room, row int) string { return "m" + strconv.Itoa(room) + "-" + strconv.Itoa(row) }

// ProcessDetail is a process's own page.
type ProcessDetail struct {
	Page
	Process Place
	Keys    []Key // the enabled ones, those used last first, a few
	BaseURL string
}

// configurationTabs are the tabs of a process's Configuration.
func configurationTabs(v Viewer, p Place, current string) []ui.Tab {
	tabs := []ui.Tab{{Label: "General", Path: ConfigurationPath(p.ID)}}
	if v.May(account.ReadKeys) {
		tabs = append(tabs, ui.Tab{Label: "API keys", Path: ProcessKeysPath(p.ID)})
	}
	for i := range tabs {
		tabs[i].Current = tabs[i].Path == current
	}
	return tabs
}

// PlaceForm is the form that makes or renames a workspace or a process. Fields: name, workspaceId (of a new process),
// return. Problems by those; "" for the form as a whole.
type PlaceForm struct {
	Page
	Return      string
	Place       Place // that is renamed; of a new one the kind alone
	Name        string
	WorkspaceID string
	Workspaces  []Option // those that a new process can be part of
	Problems    input.Problems
}

func (m PlaceForm) title() string {
	if m.Place.ID == "" {
		return "New " + string(m.Place.Kind)
	}
	return "Rename this " + string(m.Place.Kind)
}

func (m PlaceForm) path() string {
	switch {
	case m.Place.ID != "":
		return m.Place.changePath(RenamePlace, "")
	case m.Place.Kind == AProcess:
		return ProcessesPath + "/new"
	}
	return WorkspacesPath + "/new"
}

func (m PlaceForm) button() string {
	if m.Place.ID == "" {
		return "Create"
	}
	return "Rename"
}

func (m PlaceForm) hint() string {
	if m.Place.Kind == AProcess {
		return "What people call it, like “Checkout”. Two processes of one workspace have different names."
	}
	return "What people call it, like a team or a product. No two workspaces have the same name."
}

func (m PlaceForm) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"name", "p-name", "Name"}, [3]string{"workspaceId", "p-workspace", "Workspace"})
}

// PlaceConfirmation asks before a place is archived, restored or deleted. Field: return.
type PlaceConfirmation struct {
	Page
	Return       string
	Change       PlaceChange
	Place        Place
	HasKeys      bool // of any status; told where it is to be deleted
	HasProcesses bool
	InUse        bool // not all of them are archived
}

func (m PlaceConfirmation) title() string {
	return placeVerbs[m.Change] + " this " + string(m.Place.Kind) + "?"
}

// pointless says that there is nothing to do, since it is done already.
func (m PlaceConfirmation) pointless() bool {
	return m.Change == ArchivePlace && m.Place.ArchivedAt != nil || m.Change == RestorePlace && !m.Place.Archived()
}

// barred says that it can't be done as things are.
func (m PlaceConfirmation) barred() bool {
	return m.Change == RestorePlace && m.Place.Closed || m.Change == DeletePlace && (m.HasKeys || m.HasProcesses)
}

// workspaceOf is a process's workspace, as far as the process knows it.
func workspaceOf(p Place) Place {
	return Place{Kind: AWorkspace, ID: p.WorkspaceID, Name: p.Workspace}
}

func (m PlaceConfirmation) style() string {
	if m.Change == DeletePlace {
		return "btn-error"
	}
	return "btn-primary"
}
