package handlers

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// nullable is a field of a change that may be null: left out (not Sent), null (no Value), or a value.
type nullable[T any] struct {
	Sent  bool
	Value *T
}

// UnmarshalJSONFrom is called for null too, and not for a field that was left out.
func (n *nullable[T]) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	n.Sent = true
	return json.UnmarshalDecode(decoder, &n.Value)
}
