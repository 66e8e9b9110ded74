package keyring

import (
	"reflect"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
)

// changeMany lets change make another of each of the keys, stores those that differ, and returns what happened: an event
// of this action for each. change may touch a key's status, revocation, owner and bias profile.
func changeMany(tx *store.Tx, action account.Action, of store.KeysOf, change func(apikey.Key) (apikey.Key, error)) ([]audit.Change, error) {
	var happened []audit.Change
	for last := ""; ; {
		keys, err := tx.LockKeys(of, last)
		if err != nil || len(keys) == 0 {
			return happened, err
		}
		last = keys[len(keys)-1].ID
		var before, after []apikey.Key
		for _, key := range keys {
			changed, err := change(key)
			if err != nil {
				return nil, err
			}
			if !reflect.DeepEqual(key, changed) {
				before, after = append(before, key), append(after, changed)
			}
		}
		if err := tx.UpdateKeys(after); err != nil {
			return nil, err
		}
		for i := range after {
			event := audit.KeyChange(&before[i], &after[i])
			event.Action = action
			happened = append(happened, event)
		}
	}
}
