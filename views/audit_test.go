package views

import (
	"slices"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
)

func TestEveryActionHasWords(t *testing.T) {
	for _, a := range account.Actions() {
		h := happenings[a]
		if h.words == "" {
			t.Errorf("%s has no words", a)
		}
		if (h.label == "") != (h.subject == "") {
			t.Errorf("%s is half offered by the filter", a)
		}
		if offered := slices.ContainsFunc(whatOptions(), func(o Option) bool { return o.Value == string(a) }); offered != (h.label != "") {
			t.Errorf("%s is offered: %v", a, offered)
		}
	}
	for _, k := range auditKinds {
		if !slices.ContainsFunc(account.Actions(), func(a account.Action) bool { return happenings[a].subject == k.kind }) {
			t.Errorf("nothing happens to the kind %s", k.kind)
		}
	}
	if len(happenings) != len(account.Actions()) {
		t.Errorf("%d actions have words, and there are %d", len(happenings), len(account.Actions()))
	}
}
