package views

import (
	"net/http"
	"strings"
)

// errorWords are the heading of an error page, and what it says when the handler has nothing closer.
func (m Failure) words() (title, sentence string) {
	switch m.Status {
	case http.StatusBadRequest:
		return "This address or form can’t be read", "Something in it is not as it should be. Go back and try again from the page itself."
	case http.StatusForbidden:
		return "Your role does not allow this", ""
	case http.StatusNotFound:
		return "Nothing is here", "What you are looking for was deleted, or never was at this address."
	case http.StatusMethodNotAllowed:
		return "This can’t be done here", "Go back and use the page’s own buttons."
	case http.StatusConflict:
		return "Somebody else was faster", "It was changed meanwhile. Load the page again to see how it is now."
	case http.StatusRequestEntityTooLarge:
		return "This is too large", "Send less at once. A form may hold 64 KiB."
	case http.StatusUnsupportedMediaType:
		return "This is not a form", "Open the page here and send its own form."
	case http.StatusTooManyRequests:
		return "Too much at once", "Wait a moment, and try again."
	case http.StatusServiceUnavailable:
		return "Moonlatch is catching its breath", "The database does not answer. This works again by itself as soon as it does. If you were changing something, look whether it was done before you do it once more."
	}
	return "Something went wrong here", "The fault is ours, not yours. What you asked for was not done. Try again; if it stays, tell whoever runs this server."
}

func (m Failure) title() string {
	if m.Title != "" {
		return m.Title
	}
	title, _ := m.words()
	return title
}

func (m Failure) sentence() string {
	if m.Sentence != "" {
		return m.Sentence
	}
	_, sentence := m.words()
	return sentence
}

// rolesWords names the roles that it takes: "the role Owner or Admin".
func (m Failure) rolesWords() string {
	var labels []string
	for _, r := range m.Roles {
		labels = append(labels, r.Label())
	}
	if n := len(labels); n > 1 {
		return strings.Join(labels[:n-1], ", ") + " or " + labels[n-1]
	}
	return strings.Join(labels, "")
}

// again is the label of the way on; "" for none.
func (m Failure) again() string {
	switch {
	case m.Status == http.StatusServiceUnavailable || m.Status == http.StatusInternalServerError:
		return "Try again"
	case m.Back != "":
		return "Open the page again"
	}
	return ""
}

func (m Failure) back() string {
	if m.Back == "" {
		return HomePath
	}
	return backTo(m.Back)
}
