package apikey

import (
	"fmt"
	"strings"
	"testing"
)

func TestAThresholdIsAWholeNumberOnTheScale(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "5": 5, "30": 30, " 70 ": 70, "100": 100, "007": 7} {
		if got, err := ParseThreshold(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " ", "-1", "+5", "-0", "1e2", "5 0", "5\n0", "101", "999", "1000", "0050", "50.0", "50%", "0x1", "1_0", "٥٠", "５０", "99999999999999999999"} {
		if got, err := ParseThreshold(text); err == nil || !strings.Contains(err.Error(), "0 to 100") {
			t.Errorf("%q is read as %d, %v", text, got, err)
		}
	}
}

func TestLevelsEndWhereTheProductSays(t *testing.T) {
	for threshold, want := range map[int]Level{0: Low, 30: Low, 31: Moderate, 70: Moderate, 71: High, 100: High} {
		if got := LevelOf(threshold); got != want {
			t.Errorf("%d is %s", threshold, got)
		}
	}
}

func TestCategoriesStandInTheirUsualOrder(t *testing.T) {
	p := Profile{Categories: []Category{{Name: "age", Enabled: true}, {Name: "height", Enabled: true, Action: Block}, {Name: "Alpha"}, {Name: "race"}}}
	if got := fmt.Sprint(p.ByCustom()); got != "[{race false 0 } {age true 0 } {Alpha false 0 } {height true 0 block}]" {
		t.Error(got)
	}
	if on, blocking := p.Judging(); on != 2 || blocking != 1 {
		t.Error(on, blocking)
	}
}
