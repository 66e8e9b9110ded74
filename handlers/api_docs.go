package handlers

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/views"
)

//go:embed openapi.yaml
var openAPIYAML []byte

// contract is openapi.yaml in the two forms that it is handed out in.
type contract struct {
	json []byte
	etag string
	docs views.APIDocs // without what belongs to one request
}

// readContract panics when the document can't be read: it is inside this binary, and the tests read it too.
var readContract = sync.OnceValue(func() contract {
	var whole yaml.MapSlice
	var d document
	if err := yaml.UnmarshalWithOptions(openAPIYAML, &whole, yaml.UseOrderedMap()); err != nil {
		panic(err)
	}
	if err := yaml.UnmarshalWithOptions(openAPIYAML, &d, yaml.UseOrderedMap()); err != nil {
		panic(err)
	}
	text := []byte(inJSON(whole))
	sum := sha256.Sum256(text)
	return contract{text, `W/"` + hex.EncodeToString(sum[:8]) + `"`, d.docs()} // weak, for it may travel compressed
})

// openAPI answers with the document for tools.
func (h *handler) openAPI(c echo.Context) error {
	contract, header := readContract(), c.Response().Header()
	header.Set("Cache-Control", "public, max-age=300")
	header.Set("ETag", contract.etag)
	if c.Request().Header.Get("If-None-Match") == contract.etag {
		return c.NoContent(http.StatusNotModified)
	}
	return c.JSONBlob(http.StatusOK, contract.json)
}

// apiDocs shows the document to people.
func (h *handler) apiDocs(c echo.Context) error {
	docs := readContract().docs
	docs.Page, docs.BaseURL = h.page(c), strings.TrimSuffix(h.baseURL.String(), "/")
	return h.render(c, http.StatusOK, views.APIDocsPage(docs))
}

// document is what the page shows of an OpenAPI document. References lead into its own components.
type document struct {
	Info struct {
		Title, Summary, Description string
	}
	Tags []struct {
		Name, Description string
	}
	Paths      ordered[pathItem]
	Components struct {
		SecuritySchemes ordered[securityScheme] `yaml:"securitySchemes"`
		Alternatives    ordered[securityScheme] `yaml:"x-alternativeSecuritySchemes"`
		Parameters      map[string]parameter
		Headers         map[string]header
		Responses       map[string]response
		Schemas         map[string]schema
	}
}

type securityScheme struct{ Type, Scheme, Description string }

type pathItem struct {
	Parameters                     []parameter
	Post, Get, Head, Patch, Delete *operation
}

type operation struct {
	OperationID string `yaml:"operationId"`
	Tags        []string
	Summary     string
	Description string
	Scope       string `yaml:"x-required-scope"`
	Security    *[]ordered[[]string]
	Parameters  []parameter
	RequestBody *struct {
		Description string
		Required    bool
		Content     ordered[media]
	} `yaml:"requestBody"`
	Responses ordered[response]
}

type parameter struct {
	Ref                   string `yaml:"$ref"`
	Name, In, Description string
	Required              bool
	Schema                schema
	Example               any
}

type header struct {
	Ref         string `yaml:"$ref"`
	Description string
	Schema      schema
	Example     any
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
	Headers     ordered[header]
	Content     ordered[media]
}

type media struct {
	Schema   schema
	Example  any
	Examples ordered[struct {
		Summary string
		Value   any
	}]
}

type schema struct {
	Ref              string `yaml:"$ref"`
	Type             oneOrMore
	Format           string
	Description      string
	Const, Default   any
	Enum             []string
	EnumDescriptions map[string]string `yaml:"x-enumDescriptions"`
	Minimum, Maximum *int
	MinLength        *int `yaml:"minLength"`
	MaxLength        *int `yaml:"maxLength"`
	MinItems         *int `yaml:"minItems"`
	MaxItems         *int `yaml:"maxItems"`
	Items            *schema
	Required         []string
	Properties       ordered[schema]
	AllOf            []schema `yaml:"allOf"`
	OneOf            []schema `yaml:"oneOf"`
}

// ordered is a YAML mapping in the order in which it was written.
type ordered[T any] struct {
	names  []string
	values map[string]T
}

// UnmarshalYAML reads the mapping twice: for its order, and for its values.
func (o *ordered[T]) UnmarshalYAML(unmarshal func(any) error) error {
	var order yaml.MapSlice
	if err := unmarshal(&order); err != nil {
		return err
	}
	for _, entry := range order {
		o.names = append(o.names, fmt.Sprint(entry.Key))
	}
	return unmarshal(&o.values)
}

func (o ordered[T]) all(yield func(string, T) bool) {
	for _, name := range o.names {
		if !yield(name, o.values[name]) {
			return
		}
	}
}

// oneOrMore is a text or a list of them.
type oneOrMore []string

// UnmarshalYAML reads either.
func (o *oneOrMore) UnmarshalYAML(unmarshal func(any) error) error {
	var one string
	if unmarshal(&one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return unmarshal((*[]string)(o))
}

// refer returns what a reference leads to, or what stands in its place.
func refer[T any](components map[string]T, ref string, here T) T {
	if ref == "" {
		return here
	}
	there, ok := components[ref[strings.LastIndexByte(ref, '/')+1:]]
	if !ok {
		panic("openapi.yaml refers to " + ref)
	}
	return there
}

func (d document) docs() views.APIDocs {
	out := views.APIDocs{Title: d.Info.Title, Summary: d.Info.Summary, Intro: d.Info.Description}
	for _, schemes := range []ordered[securityScheme]{d.Components.SecuritySchemes, d.Components.Alternatives} {
		for _, scheme := range schemes.all {
			out.Ways = append(out.Ways, views.APIWay{Kind: scheme.Type + " " + scheme.Scheme, Text: scheme.Description})
		}
	}
	out.Codes = valuesOf(d.Components.Schemas["ErrorBody"].Properties.values["code"])
	out.ErrorExample = inJSON(d.Components.Responses["BadRequest"].Content.values[echo.MIMEApplicationJSON].Example)
	for _, tag := range d.Tags {
		group := views.APITag{Name: tag.Name, Text: tag.Description}
		for path, item := range d.Paths.all {
			for _, on := range []struct {
				method string
				*operation
			}{{"POST", item.Post}, {"GET", item.Get}, {"HEAD", item.Head}, {"PATCH", item.Patch}, {"DELETE", item.Delete}} {
				if on.operation != nil && slices.Contains(on.Tags, tag.Name) {
					group.Operations = append(group.Operations, d.operation(on.method, path, *on.operation, item.Parameters))
				}
			}
		}
		out.Tags = append(out.Tags, group)
	}
	out.Headers = d.commonHeaders()
	return out
}

// commonHeaders are those that more than one answer carries, in the order in which they come up.
func (d document) commonHeaders() []views.APIField {
	var out []views.APIField
	seen := map[string]bool{}
	for _, response := range d.Components.Responses {
		for name, h := range response.Headers.all {
			if h.Ref != "" && !seen[name] {
				seen[name] = true
				out = append(out, d.headerField(name, h))
			}
		}
	}
	slices.SortFunc(out, func(a, b views.APIField) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (d document) headerField(name string, h header) views.APIField {
	h = refer(d.Components.Headers, h.Ref, h)
	return d.field(name, h.Schema, h.Description)
}

func (d document) operation(method, path string, on operation, shared []parameter) views.APIOperation {
	out := views.APIOperation{
		ID: on.OperationID, Method: method, Path: path, Summary: on.Summary, Text: on.Description, Scope: on.Scope,
		Call: views.APICall{Method: method},
	}
	if on.Security != nil {
		out.Call.Public, out.Call.SessionOnly = len(*on.Security) == 0, len(*on.Security) == 1
	}
	address, query := path, url.Values{}
	for _, p := range slices.Concat(shared, on.Parameters) {
		p = refer(d.Components.Parameters, p.Ref, p)
		field := d.field(p.Name, p.Schema, p.Description)
		field.Required = p.Required
		switch p.In {
		case "path":
			out.InPath = append(out.InPath, field)
			address = strings.ReplaceAll(address, "{"+p.Name+"}", fmt.Sprint(p.Example))
		case "query":
			out.InQuery = append(out.InQuery, field)
			if p.Example != nil {
				query[p.Name] = texts(p.Example)
			}
		case "header":
			out.InHeader = append(out.InHeader, field)
			if p.Example != nil {
				out.Call.Headers = append(out.Call.Headers, p.Name+": "+fmt.Sprint(p.Example))
			}
		}
	}
	out.Call.Path = address
	if len(query) > 0 {
		out.Call.Path += "?" + strings.ReplaceAll(query.Encode(), "%3A", ":") // a colon may stand in a query
	}
	if body := on.RequestBody; body != nil {
		content := body.Content.values[echo.MIMEApplicationJSON]
		out.BodyText, out.Body, out.Call.Body = body.Description, d.fields(content.Schema), inJSON(content.Example)
	}
	for status, r := range on.Responses.all {
		r = refer(d.Components.Responses, r.Ref, r)
		if status >= "400" {
			out.Errors = append(out.Errors, views.APIError{Status: status, Text: r.Description, Headers: special(r.Headers)})
			continue
		}
		out.Answers = append(out.Answers, d.answer(status, r))
	}
	return out
}

// special are the headers of an error that not every answer has.
func special(headers ordered[header]) []string {
	return slices.DeleteFunc(slices.Clone(headers.names), func(name string) bool {
		return name != "Retry-After" && name != "WWW-Authenticate"
	})
}

func (d document) answer(status string, r response) views.APIAnswer {
	out := views.APIAnswer{Status: status, Text: r.Description}
	var shown []string
	for name, h := range r.Headers.all {
		if h.Ref != "" {
			out.Common = append(out.Common, name)
			continue
		}
		out.Headers = append(out.Headers, d.headerField(name, h))
		shown = append(shown, name+": "+fmt.Sprint(h.Example))
	}
	for kind, content := range r.Content.all {
		out.Type, out.Body = kind, d.fields(content.Schema)
		examples := content.Examples
		if content.Example != nil {
			out.Examples = append(out.Examples, views.APIExample{Label: status, Text: body(content.Example)})
		}
		for _, example := range examples.all {
			out.Examples = append(out.Examples, views.APIExample{Label: status + " · " + example.Summary, Text: body(example.Value)})
		}
	}
	if len(shown) > 0 {
		out.Examples = append(out.Examples, views.APIExample{Label: status, Text: strings.Join(shown, "\n")})
	}
	return out
}

// body is an example as it is sent: text as it is, all else as JSON.
func body(example any) string {
	if text, ok := example.(string); ok {
		return strings.TrimSuffix(text, "\n")
	}
	return inJSON(example)
}

// whole follows a reference, puts together what allOf parts, and says whether null is allowed too.
func (d document) whole(s schema) (_ schema, nullable bool) {
	description := s.Description
	s = refer(d.Components.Schemas, s.Ref, s)
	for _, part := range s.OneOf {
		switch {
		case slices.Equal(part.Type, oneOrMore{"null"}):
			nullable = true
		case len(s.Properties.names) == 0: // else it describes all its alternatives
			s, _ = d.whole(part)
		}
	}
	merged := s
	for i, part := range s.AllOf {
		part, _ = d.whole(part)
		if i == 0 {
			merged.Properties = ordered[schema]{values: map[string]schema{}}
		}
		merged.Type, merged.Required = part.Type, slices.Concat(merged.Required, part.Required)
		for name, property := range part.Properties.all {
			merged.Properties.names = append(merged.Properties.names, name)
			merged.Properties.values[name] = property
		}
	}
	if description != "" {
		merged.Description = description
	}
	return merged, nullable || slices.Contains(merged.Type, "null")
}

// fields are the properties of an object, or of the objects in an array.
func (d document) fields(s schema) []views.APIField {
	s, _ = d.whole(s)
	if s.Items != nil {
		return d.fields(*s.Items)
	}
	var out []views.APIField
	for name, property := range s.Properties.all {
		field := d.field(name, property, "")
		field.Required = slices.Contains(s.Required, name)
		out = append(out, field)
	}
	return out
}

func (d document) field(name string, s schema, description string) views.APIField {
	full, nullable := d.whole(s)
	if description == "" {
		description = full.Description
	}
	field := views.APIField{Name: name, Type: d.typeOf(full), Text: description, Notes: notes(full), Choices: valuesOf(full), Fields: d.fields(full)}
	if nullable {
		field.Type += " or null"
	}
	return field
}

// valuesOf are the values of an enumeration.
func valuesOf(s schema) []views.APIChoice {
	var out []views.APIChoice
	for _, value := range s.Enum {
		out = append(out, views.APIChoice{Value: value, Text: s.EnumDescriptions[value]})
	}
	return out
}

func (d document) typeOf(s schema) string {
	kind := ""
	if types := slices.DeleteFunc(slices.Clone(s.Type), func(t string) bool { return t == "null" }); len(types) > 0 {
		kind = types[0]
	}
	switch {
	case kind == "array":
		item, _ := d.whole(*s.Items)
		return "array of " + d.typeOf(item) + "s"
	case s.Format == "uuid":
		return "UUID"
	case s.Format == "date-time":
		return "time"
	case s.Format == "date":
		return "date"
	}
	return kind
}

// notes are a schema's default and bounds in words.
func notes(s schema) []string {
	var out []string
	if s.Default != nil {
		out = append(out, "default "+strings.TrimSpace(inJSON(s.Default)))
	}
	if s.Const != nil {
		out = append(out, "always "+strings.TrimSpace(inJSON(s.Const)))
	}
	for _, bound := range []struct {
		least, most *int
		unit        string
	}{{s.Minimum, s.Maximum, ""}, {s.MinLength, s.MaxLength, " characters"}, {s.MinItems, s.MaxItems, " entries"}} {
		switch least, most := bound.least, bound.most; {
		case least != nil && most != nil && *least == *most:
			out = append(out, fmt.Sprintf("%d%s", *most, bound.unit))
		case least != nil && most != nil:
			out = append(out, fmt.Sprintf("%d to %d%s", *least, *most, bound.unit))
		case most != nil:
			out = append(out, fmt.Sprintf("at most %d%s", *most, bound.unit))
		case least != nil:
			out = append(out, fmt.Sprintf("at least %d%s", *least, bound.unit))
		}
	}
	return out
}

func texts(example any) []string {
	list, ok := example.([]any)
	if !ok {
		list = []any{example}
	}
	var out []string
	for _, one := range list {
		out = append(out, fmt.Sprint(one))
	}
	return out
}

// inJSON writes what was read from YAML as JSON, in the order in which it was written there. An array of plain values
// stands on one line.
func inJSON(v any) string {
	var out bytes.Buffer
	writeJSON(&out, v, "\n")
	return out.String()
}

func writeJSON(out *bytes.Buffer, v any, newline string) {
	inner := newline + "  "
	switch v := v.(type) {
	case yaml.MapSlice:
		if len(v) == 0 {
			out.WriteString("{}")
			return
		}
		for i, entry := range v {
			out.WriteString(before(i, "{") + inner)
			writeJSON(out, fmt.Sprint(entry.Key), "")
			out.WriteString(": ")
			writeJSON(out, entry.Value, inner)
		}
		out.WriteString(newline + "}")
	case []any:
		plain := !slices.ContainsFunc(v, func(entry any) bool {
			switch entry.(type) {
			case yaml.MapSlice, []any:
				return true
			}
			return false
		})
		if plain {
			out.WriteByte('[')
			for i, entry := range v {
				if i > 0 {
					out.WriteString(", ")
				}
				writeJSON(out, entry, inner)
			}
			out.WriteByte(']')
			return
		}
		for i, entry := range v {
			out.WriteString(before(i, "[") + inner)
			writeJSON(out, entry, inner)
		}
		out.WriteString(newline + "]")
	default:
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			panic(err) // YAML has no value that JSON lacks, but for infinities, which the document has not
		}
		out.Truncate(out.Len() - 1) // the encoder's line break
	}
}

// before is what stands before an entry: what opens the list, or a comma.
func before(i int, opens string) string {
	if i == 0 {
		return opens
	}
	return ","
}
