package views

import (
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
)

func TestWhatWasRefusedIsInWords(t *testing.T) {
	for _, action := range account.Actions() {
		if words := (SecurityEvent{Detail: string(action)}).about(); words == string(action) {
			t.Errorf("%s has no words", action)
		}
	}
}
