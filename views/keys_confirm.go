package views

import (
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/views/ui"
)

// path is where the confirmation is shown and posted.
func (m Confirmation) path() string {
	if m.Several || len(m.Keys) != 1 {
		return BulkPath(m.Change)
	}
	return ChangePath(m.Keys[0].ID, m.Change, "")
}

// endsGrace is true when a rotated key is to stop before its time.
func (m Confirmation) endsGrace() bool {
	return m.Change == apikey.Revoke && len(m.Keys) == 1 && m.Keys[0].InGraceAt(m.Now)
}

func (m Confirmation) title() string {
	switch {
	case len(m.Keys) == 0 && len(m.Unchanged) == 0:
		return "Choose keys first"
	case len(m.Keys) == 0:
		return "Nothing to " + lower(verb(m.Change))
	case m.endsGrace():
		return "Stop the old key now?"
	case len(m.Keys) > 1:
		return verb(m.Change) + " " + ui.Count(int64(len(m.Keys)), "key") + "?"
	}
	return verb(m.Change) + " this key?"
}

func (m Confirmation) button() string {
	switch {
	case m.endsGrace():
		return "Stop the old key"
	case len(m.Keys) > 1:
		return verb(m.Change) + " " + ui.Count(int64(len(m.Keys)), "key")
	case m.Change == apikey.Delete:
		return "Delete for good"
	}
	return verb(m.Change)
}

// style makes a button red where something is lost for good, and only there.
func (m Confirmation) style() string {
	if m.Change == apikey.Revoke || m.Change == apikey.Delete {
		return "btn-error"
	}
	return "btn-primary"
}

// live says whether any of the keys is accepted now, so that something can break.
func (m Confirmation) live() bool {
	for _, k := range m.Keys {
		if k.AcceptedAt(m.Now) {
			return true
		}
	}
	return false
}

// requests is how much all the keys served in the last 24 hours.
func (m Confirmation) requests() int64 {
	var sum int64
	for _, k := range m.Keys {
		sum += k.Requests24h
	}
	return sum
}

// unchanged says why some of the keys stay as they are: "2 of these are already revoked and stay as they are."
func (m Confirmation) unchanged() string {
	same := true
	status := apikey.Status("")
	for i, k := range m.Unchanged {
		if s := k.StatusAt(m.Now); i == 0 {
			status = s
		} else if s != status {
			same = false
		}
	}
	n := len(m.Unchanged)
	subject, stay := ui.Number(int64(n))+" of these", ui.Plural(n, "stays as it is", "stay as they are")
	if len(m.Keys) == 0 {
		subject = ui.Plural(n, "This key", "These keys")
	}
	if !same {
		return subject + " can’t be " + did(m.Change) + " any more and " + stay + "."
	}
	return subject + " " + ui.Plural(n, "is", "are") + " already " + lower(status.Label()) + " and " + stay + "."
}

func lower(word string) string {
	if word == "" {
		return ""
	}
	return string(word[0]|0x20) + word[1:] // our own words begin with an ASCII letter
}

// own says whether the latest change was the viewer's: a form sent twice, or a page reloaded.
func (m KeyConflict) own() bool {
	return m.Latest != nil && m.Latest.Who == m.Viewer.Email && m.Latest.KeyID == ""
}
