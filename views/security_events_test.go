package views

import (
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
)

func TestWhatWasRefusedIsInWords(t *testing.T) {
	for _, action := range account.Actions() {
		if words := (SecurityEvent{Detail: string(action)}).about(); words == string(action) {
			t.Errorf("%s has no words", action)
		}
	}
}

func TestEveryKindOfSecurityEventHasWords(t *testing.T) {
	for _, kind := range audit.SecurityKinds {
		if words := (SecurityEvent{Kind: kind}).what(); words == kind || words == "" {
			t.Errorf("%s has no words", kind)
		}
	}
	if len(securityWords) != len(audit.SecurityKinds) {
		t.Errorf("%d kinds can be chosen, and there are %d", len(securityWords), len(audit.SecurityKinds))
	}
}
