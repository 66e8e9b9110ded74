package audit

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)

func chainOf(n int) []Event {
	var events []Event
	seq, hash := int64(0), Genesis
	for range n {
		e := NewEvent("id", noon, account.Actor{OrgID: "org", MemberID: "member", Email: "a@b.test", Role: account.Admin}, account.EditKey,
			Change{Subject: Subject{"key", "k", "name"}, Before: Facts{"name": "a"}, After: Facts{"name": "b"}}).Follow(seq, hash)
		events, seq, hash = append(events, e), e.Seq, e.Hash
	}
	return events
}

func walk(events []Event, seq int64, hash []byte) error {
	var chain Chain
	for _, e := range events {
		if err := chain.Check(e); err != nil {
			return err
		}
	}
	return chain.End(seq, hash)
}

func TestEveryFieldIsPartOfTheHash(t *testing.T) {
	good := chainOf(3)
	if err := walk(good, 3, good[2].Hash); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Event){
		"OrgID": func(e *Event) { e.OrgID += "x" }, "ID": func(e *Event) { e.ID += "x" }, "At": func(e *Event) { e.At = e.At.Add(time.Microsecond) },
		"Action": func(e *Event) { e.Action = account.RevokeKey }, "ActorID": func(e *Event) { e.ActorID = "" }, "Email": func(e *Event) { e.Email += "x" },
		"Role": func(e *Event) { e.Role = account.Owner }, "SessionID": func(e *Event) { e.SessionID = "x" }, "Address": func(e *Event) { e.Address = "x" },
		"UserAgent": func(e *Event) { e.UserAgent = "x" }, "Kind": func(e *Event) { e.Subject.Kind = "x" }, "Subject": func(e *Event) { e.Subject.ID = "x" },
		"Name": func(e *Event) { e.Subject.Name = "x" }, "Before": func(e *Event) { e.Before = "{}" }, "After": func(e *Event) { e.After = "{}" },
		"text moved between fields": func(e *Event) { e.ActorID, e.Email = e.ActorID+e.Email[:1], e.Email[1:] },
	} {
		events := chainOf(3)
		change(&events[1])
		var broken *BrokenError
		if err := walk(events, 3, events[2].Hash); !errors.As(err, &broken) || broken.Seq != 2 {
			t.Errorf("%s altered: %v", name, err)
		}
	}
}

func TestTimeIsHashedAsTheDatabaseKeepsIt(t *testing.T) {
	e := chainOf(1)[0]
	e.At = e.At.In(time.FixedZone("elsewhere", 3600))
	if err := walk([]Event{e}, 1, e.Hash); err != nil {
		t.Error(err)
	}
}

func TestOnlyWhatChangedIsWrittenDown(t *testing.T) {
	was := apikey.Key{ID: "k", Name: "a", Stored: apikey.Enabled, Scopes: []string{"read:chat"}, ExpiresAt: noon, IPAllowlist: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	is := was
	is.Name = "b"
	e := NewEvent("", noon, account.Actor{}, account.EditKey, KeyChange(&was, &is))
	if e.Before != `{"name":"a"}` || e.After != `{"name":"b"}` || e.Subject.Name != "b" {
		t.Errorf("%s became %s", e.Before, e.After)
	}
	made := NewEvent("", noon, account.Actor{}, account.IssueKey, KeyChange(nil, &was))
	if made.Before != "" || !strings.Contains(made.After, `"ipAllowlist":["10.0.0.0/8"]`) || strings.Contains(made.After, "revokedAt") {
		t.Errorf("issued: %q, %s", made.Before, made.After)
	}
	if gone := NewEvent("", noon, account.Actor{}, account.DeleteKey, KeyChange(&was, nil)); gone.After != "" || gone.Before != made.After {
		t.Errorf("deleted: %s, %q", gone.Before, gone.After)
	}
}
