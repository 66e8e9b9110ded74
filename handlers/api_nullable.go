package handlers

import "encoding/json"

// nullable is a field of a change that may be null: left out (not Sent), null (no Value), or a value.
type nullable[T any] struct {
	Sent  bool
	Value *T
}

// UnmarshalJSON is called for null too, and not for a field that was left out.
func (n *nullable[T]) UnmarshalJSON(text []byte) error {
	n.Sent = true
	return json.Unmarshal(text, &n.Value)
}
