package ui

// Text is one line of text.
type Text struct {
	ID, Name, Label, Value, Hint, Problem string
	Type                                  string // of the input; empty for text
	Autocomplete, Min, Max, MaxLength     string
	Optional, Autofocus                   bool
}

func (t Text) kind() string {
	if t.Type == "" {
		return "text"
	}
	return t.Type
}

// Choice is an option of a select. Neighbours that share a Group stand under it.
type Choice struct {
	Value, Label, Group string
}

// Select is a choice of one.
type Select struct {
	ID, Name, Label, Value, Hint, Problem string
	None                                  string // the words for no choice; empty when there must be one
	Choices                               []Choice
	Optional                              bool
}

type choiceGroup struct {
	name    string
	choices []Choice
}

func (s Select) groups() []choiceGroup {
	var out []choiceGroup
	for _, c := range s.Choices {
		if n := len(out); n == 0 || out[n-1].name != c.Group {
			out = append(out, choiceGroup{name: c.Group})
		}
		last := &out[len(out)-1]
		last.choices = append(last.choices, c)
	}
	return out
}

// Box is a box to tick.
type Box struct {
	ID, Name, Value, Label, Hint, Problem string // Value is "1" unless given
	On                                    bool
}

func (b Box) value() string {
	if b.Value == "" {
		return "1"
	}
	return b.Value
}

// MenuItem is an entry of a menu. Apart ones stand below a line.
type MenuItem struct {
	Label, Path string
	Apart       bool
}

// Tab is one of pages that stand beside each other.
type Tab struct {
	Label, Path string
	Current     bool
}

// Pages are the neighbours of a list's page.
type Pages struct {
	Target                string // the DOM id of the list's fragment; empty for whole pages
	NewerPath, NewerLabel string
	OlderPath, OlderLabel string
}
