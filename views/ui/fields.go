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
