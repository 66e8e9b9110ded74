package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// openAPIDocument is openapi.yaml as kin-openapi understands it.
var openAPIDocument = sync.OnceValue(func() *openapi3.T {
	document, err := openapi3.NewLoader().LoadFromData(openAPIYAML)
	if err != nil {
		panic(err)
	}
	if err := document.Validate(context.Background()); err != nil {
		panic(err)
	}
	return document
})

func init() {
	text := func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
		content, err := io.ReadAll(body)
		return string(content), err
	}
	openapi3filter.RegisterBodyDecoder("application/jsonl", text)
}

// conforming lets requests through, and fails the test when an answer of /v1 is not as openapi.yaml says, or when a
// request that was answered well is not one of which it speaks.
type conforming struct{ t *testing.T }

func (c conforming) RoundTrip(request *http.Request) (*http.Response, error) {
	var sent []byte
	if request.Body != nil {
		var err error
		if sent, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Body = io.NopCloser(bytes.NewReader(sent))
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || !forPrograms(request.URL.Path) {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return response, err
	}
	if err := conforms(request, sent, response, body); err != nil {
		c.t.Errorf("%s %s is answered with %d, and not as openapi.yaml says: %v\n%s", request.Method, request.URL.Path, response.StatusCode, err, body)
	}
	if found := errorWords(body); response.StatusCode >= 400 && len(found) > 0 {
		c.t.Errorf("%s %s is answered with the words of pages %q:\n%s", request.Method, request.URL.Path, found, body)
	}
	return response, nil
}

// conforms holds an exchange against openapi.yaml: the status, the headers, the media type and the body of the answer,
// and, if that is a good one, the request's parameters and body.
func conforms(request *http.Request, sent []byte, response *http.Response, body []byte) error {
	document, status := openAPIDocument(), response.StatusCode
	path, parameters := templateOf(document, request.URL.Path)
	item := document.Paths.Value(path)
	method := request.Method
	if path == forwardAuthPath && method != http.MethodHead {
		method = http.MethodGet // it takes every method
	}
	// Two answers belong to no operation, and are described in words.
	if item == nil {
		return isError(document, http.StatusNotFound, status, body)
	}
	operation := item.GetOperation(method)
	if operation == nil && method == http.MethodHead {
		operation, method = item.Get, http.MethodGet // its answer without the body
	}
	if operation == nil {
		if response.Header.Get("Allow") == "" {
			return errors.New("the header Allow is missing")
		}
		return isError(document, http.StatusMethodNotAllowed, status, body)
	}
	options := &openapi3filter.Options{
		IncludeResponseStatus:             true,
		RejectWhenRequestBodyNotSpecified: true,
		ExcludeResponseBody:               request.Method == http.MethodHead,
		MultiError:                        true,
		AuthenticationFunc:                openapi3filter.NoopAuthenticationFunc,
		SchemaValidationOptions: []openapi3.SchemaValidationOption{
			openapi3.WithStringFormatValidator("uuid", openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringForUUIDOfRFC9562)),
		},
	}
	asked := request.Clone(request.Context())
	asked.Method = method // of a HEAD, the library would look at nothing
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	input := &openapi3filter.RequestValidationInput{
		Request: asked, PathParams: parameters, Options: options,
		Route: &routers.Route{Spec: document, Path: path, PathItem: item, Method: method, Operation: operation},
	}
	answered := (&openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: status, Header: response.Header, Options: options}).SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(request.Context(), answered); err != nil {
		return err
	}
	described := operation.Responses.Status(status).Value
	if len(described.Content) == 0 {
		if len(body) > 0 {
			return errors.New("it has a body, which should be empty")
		}
	} else if request.Method != http.MethodHead {
		if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind == "application/json" {
			if unknown := undocumented(described.Content.Get(kind).Schema.Value, body); len(unknown) > 0 {
				return fmt.Errorf("it has fields that are not described: %q", unknown)
			}
		}
	}
	if status >= 300 {
		return nil
	}
	for name := range request.URL.Query() {
		known := func(p *openapi3.ParameterRef) bool { return p.Value.In == "query" && p.Value.Name == name }
		if path != forwardAuthPath && !slices.ContainsFunc(operation.Parameters, known) {
			return fmt.Errorf("the request had the parameter %q, which is not described, and was answered well", name)
		}
	}
	if err := openapi3filter.ValidateRequest(request.Context(), input); err != nil {
		return fmt.Errorf("the request was answered well, although it is not as described: %w", err)
	}
	return nil
}

// templateOf finds the path of the document that an address stands for; one without parameters goes first.
func templateOf(document *openapi3.T, address string) (path string, parameters map[string]string) {
	if document.Paths.Value(address) != nil {
		return address, nil
	}
	want := strings.Split(address, "/")
	for path := range document.Paths.Map() {
		parts, found := strings.Split(path, "/"), map[string]string{}
		if len(parts) != len(want) {
			continue
		}
		for i, part := range parts {
			if name, ok := strings.CutPrefix(part, "{"); ok && want[i] != "" {
				found[strings.TrimSuffix(name, "}")] = want[i]
			} else if part != want[i] {
				found = nil
				break
			}
		}
		if found != nil {
			return path, found
		}
	}
	return "", nil
}

// isError says whether an answer is the error that every status has.
func isError(document *openapi3.T, want, status int, body []byte) error {
	if status != want {
		return fmt.Errorf("nothing is described here, so it should be %d", want)
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	return document.Components.Schemas["Error"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020())
}

// undocumented names the fields of a JSON text that its schema does not. A program may meet fields that it does not
// know, but none that nobody wrote down.
func undocumented(s *openapi3.Schema, text []byte) []string {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return []string{err.Error()}
	}
	return strangers([]*openapi3.Schema{s}, value, "")
}

func strangers(schemas []*openapi3.Schema, value any, at string) (out []string) {
	for i := 0; i < len(schemas); i++ { // it grows by what its members are made of
		for _, part := range slices.Concat(schemas[i].AllOf, schemas[i].OneOf) {
			schemas = append(schemas, part.Value)
		}
	}
	switch value := value.(type) {
	case []any:
		for i, entry := range value {
			for _, s := range schemas {
				if s.Items != nil {
					out = append(out, strangers([]*openapi3.Schema{s.Items.Value}, entry, fmt.Sprintf("%s[%d]", at, i))...)
				}
			}
		}
	case map[string]any:
		for name, entry := range value {
			var described []*openapi3.Schema
			open := false
			for _, s := range schemas {
				if property := s.Properties[name]; property != nil {
					described = append(described, property.Value)
				}
				open = open || s.AdditionalProperties.Schema != nil || s.AdditionalProperties.Has != nil && *s.AdditionalProperties.Has
			}
			if len(described) == 0 && !open {
				out = append(out, at+"."+name)
			}
			out = append(out, strangers(described, entry, at+"."+name)...)
		}
	}
	return out
}

var pathParameter = regexp.MustCompile(`:([a-z]+)`)

// TestEveryRouteIsDescribedAndEveryDescriptionIsARoute compares the code's table with the document, both ways.
func TestEveryRouteIsDescribedAndEveryDescriptionIsARoute(t *testing.T) {
	document := openAPIDocument()
	described := map[string]*openapi3.Operation{}
	for path, item := range document.Paths.Map() {
		for method, operation := range item.Operations() {
			described[method+" "+path] = operation
		}
	}
	routed := map[string]route{
		"GET " + metricsPath: {policy: probe}, // it may be served apart, and so stands in no table
	}
	for _, r := range slices.Concat(routes, apiRoutes) {
		path := pathParameter.ReplaceAllString(r.path, "{$1}")
		switch {
		case r.method == every:
			routed["GET "+path], routed["HEAD "+path] = r, r
		case forPrograms(r.path) || r.policy.kind == machine:
			routed[r.method+" "+path] = r
		}
	}
	for _, name := range slices.Sorted(maps.Keys(routed)) {
		operation, ok := described[name]
		if !ok {
			t.Errorf("openapi.yaml does not describe %s", name)
			continue
		}
		holdSecurity(t, name, routed[name], operation)
	}
	for _, name := range slices.Sorted(maps.Keys(described)) {
		if _, ok := routed[name]; !ok {
			t.Errorf("openapi.yaml describes %s, which is no route", name)
		}
	}
}

// holdSecurity compares what a description says of a route's policy with the policy.
func holdSecurity(t *testing.T, name string, r route, operation *openapi3.Operation) {
	t.Helper()
	scope := ""
	if r.policy.kind == program {
		scope = account.ScopeFor(r.policy.action)
	}
	if said, _ := operation.Extensions["x-required-scope"].(string); said != scope {
		t.Errorf("%s takes the scope %q, and not %q", name, scope, said)
	}
	var ways []string // nil: the document's default
	if operation.Security != nil {
		ways = []string{}
		for _, way := range *operation.Security {
			ways = slices.AppendSeq(ways, maps.Keys(way))
		}
	}
	var want []string
	switch {
	case r.method == every, scope != "": // a gateway's caller shows its credential to a handler
	case r.policy.kind == program:
		want = []string{"bearer"}
	default:
		want = []string{}
	}
	if !reflect.DeepEqual(ways, want) {
		t.Errorf("%s is described with the ways to authenticate %q, and takes %q", name, ways, want)
	}
}

// TestEveryErrorHasItsCodeInTheDocument compares the codes and statuses that programs are answered with.
func TestEveryErrorHasItsCodeInTheDocument(t *testing.T) {
	want := map[string]int{"idempotency_conflict": http.StatusConflict}
	for status, answer := range answers {
		want[answer.code] = status
	}
	code := openAPIDocument().Components.Schemas["ErrorBody"].Value.Properties["code"].Value
	words, _ := code.Extensions["x-enumDescriptions"].(map[string]any)
	said := map[string]int{}
	for _, name := range code.Enum {
		var status int
		if _, err := fmt.Sscanf(fmt.Sprint(words[name.(string)]), "%d: ", &status); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		said[name.(string)] = status
	}
	if !maps.Equal(said, want) {
		t.Errorf("openapi.yaml names %v, and programs get %v", said, want)
	}
}

// TestEveryKindOfSecurityEventIsInTheDocuments looks into openapi.yaml and into the table of the manual.
func TestEveryKindOfSecurityEventIsInTheDocuments(t *testing.T) {
	var kinds []string
	for _, kind := range openAPIDocument().Components.Schemas["SecurityEventKind"].Value.Enum {
		kinds = append(kinds, kind.(string))
	}
	if !slices.Equal(kinds, audit.SecurityKinds) {
		t.Errorf("openapi.yaml names %q, and there are %q", kinds, audit.SecurityKinds)
	}
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range audit.SecurityKinds {
		if !strings.Contains(string(text), "\n| `"+kind+"` |") {
			t.Errorf("%s has no row for %s", manual, kind)
		}
	}
}

// TestDocumentIsServedAsItWasWritten reads what the server made of the document with another reader than it was made
// with.
func TestDocumentIsServedAsItWasWritten(t *testing.T) {
	s := newSite(t)
	served := s.visitor().get("/openapi.json")
	if served.status != http.StatusOK || served.header.Get("Content-Type") != "application/json" || served.header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%d %v", served.status, served.header)
	}
	back, err := openapi3.NewLoader().LoadFromData([]byte(served.body))
	if err != nil {
		t.Fatal(err)
	}
	var written, read any
	for text, into := range map[*openapi3.T]*any{openAPIDocument(): &written, back: &read} {
		whole, err := text.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(whole, into); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(written, read) {
		t.Error("the JSON is not what was written in YAML")
	}
	again := s.visitor().send(get, "/openapi.json", nil, map[string]string{"If-None-Match": served.header.Get("ETag")})
	if again.status != http.StatusNotModified || again.body != "" {
		t.Errorf("asked whether it has changed: %d", again.status)
	}
}

// rare are the statuses that it takes an outage, a limit or a large body to see.
var rare = []string{"413", "429", "500", "503"}

// noting is conforming, and notes which answer of which operation it has seen.
type noting struct {
	conforming
	seen map[string]bool
}

func (n noting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := n.conforming.RoundTrip(request)
	if err == nil {
		path, _ := templateOf(openAPIDocument(), request.URL.Path)
		n.seen[fmt.Sprint(request.Method, " ", path, " ", response.StatusCode)] = true
	}
	return response, err
}

// TestEveryAnswerIsAsDescribed asks every operation for each answer that is described, but for the rare ones.
func TestEveryAnswerIsAsDescribed(t *testing.T) {
	s := newSite(t)
	note := noting{conforming{t}, map[string]bool{}}
	s.programs = &http.Client{Transport: note}
	workspace, process, profile := s.catalogue()
	_, all := s.key(s.org.Owner, "*")
	_, little := s.key(s.org.Owner, "read:chat")
	c, poor, nobody := s.with(all), s.with(little), s.client()
	plain := s.client("Authorization", "Bearer "+all, "Content-Type", "text/plain")
	issue := object{"name": "Described", "scopes": []string{"read:chat"}}
	ids := map[string]string{"/v1/bias-profiles": profile, "/v1/workspaces": workspace, "/v1/processes": process, "/v1/members": s.org.Admin.MemberID}

	bodies := map[string]any{"createWorkspace": object{"name": "Described"}, "updateWorkspace": object{"name": "x"}, "createProcess": object{"name": "Described", "workspaceId": workspace}, "updateProcess": object{"name": "x"}, "createBiasProfile": object{"name": "Described"}, "updateBiasProfile": object{"name": "x"}, "issueApiKey": issue, "issueProcessApiKey": issue, "updateApiKey": object{"name": "x"}, "verifyApiKey": object{"key": "x"}, "logIn": object{"email": "x", "password": "y"}}
	for path, item := range openAPIDocument().Paths.Map() {
		if !forPrograms(path) {
			continue
		}
		address := strings.ReplaceAll(path, "{id}", uuid.NewString())
		for method, operation := range item.Operations() {
			body := bodies[operation.OperationID]
			ask := func(c *client, address string, body any) {
				if method == http.MethodHead {
					c.head(address)
				} else {
					c.call(method, address, body)
				}
			}
			ask(nobody, address, body)            // 401
			ask(poor, address+"?scope=one", body) // 403
			ask(c, address+"?scope=%zz", body)    // 400
			ask(c, address, body)                 // 404, or 200 of a list
			if operation.RequestBody != nil {
				ask(plain, address, "x")  // 415
				ask(c, address, object{}) // 400
			}
		}
	}
	other := storetest.Organisation(t, s.store)
	s.key(other.Owner, "read:chat")
	s.key(other.Owner, "read:chat")
	keys, err := s.keyring.Keys(t.Context(), other.Owner, apikey.Filter{}, apikey.Newest, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	events, err := s.keyring.Events(t.Context(), other.Owner, audit.Filter{}, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	c.call(get, "/v1/api-keys?cursor="+keys.Next, nil).expect(t, "another organisation's cursor", 404, "not_found")
	c.call(get, "/v1/audit-events?cursor="+events.Next, nil).expect(t, "another organisation's cursor", 404, "not_found")
	s.attempted(other, other.Owner.MemberID, 2)
	attempts, err := s.keyring.SecurityEvents(t.Context(), other.Owner, audit.SecurityFilter{}, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	c.call(get, "/v1/security-events?cursor="+attempts.Next, nil).expect(t, "another organisation's cursor", 404, "not_found")
	session := s.with(s.token(s.org.Owner))
	for list, id := range ids {
		session.call(get, list, nil).expect(t, list, 200, "")
		session.call(get, list+"/"+id, nil).expect(t, list, 200, "")
		session.call(get, list+"/"+uuid.NewString(), nil).expect(t, list, 404, "not_found")
	}
	askAllOfMembers(t, session, other)
	c.call(get, forwardAuthPath+"?scope=read:chat&org="+s.org.ID, nil).expect(t, "forward-auth", 200, "")
	nobody.call(post, "/v1/auth/login", object{"email": s.org.Owner.Email, "password": storetest.Password}).expect(t, "log in", 200, "")
	s.with(s.token(s.org.Owner)).call(post, "/v1/auth/logout", nil).expect(t, "log out", 204, "")

	once := s.client("Authorization", "Bearer "+all, "Idempotency-Key", "one")
	full := object{"name": "Full", "scopes": []string{"read:chat"}, "environment": "test", "processId": process, "biasProfileId": profile,
		"ipAllowlist": []string{"192.0.2.0/24"}, "expiresAt": time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)}
	made := once.call(post, "/v1/api-keys", full).expect(t, "issue", 201, "")
	once.call(post, "/v1/api-keys", full).expect(t, "issue again", 409, "idempotency_conflict")
	ofProcess := s.client("Authorization", "Bearer "+all, "Idempotency-Key", "two")
	ofProcess.call(post, "/v1/processes/"+process+"/api-keys", issue).expect(t, "issue for a process", 201, "")
	ofProcess.call(post, "/v1/processes/"+process+"/api-keys", issue).expect(t, "issue again for a process", 409, "idempotency_conflict")
	plain.call(post, "/v1/processes/"+process+"/api-keys", "x").expect(t, "no JSON", 415, "unsupported_media_type")
	c.call(get, "/v1/processes/"+process+"/api-keys?limit=1&environment=live&q=e&status=active", nil).expect(t, "a process's keys", 200, "")
	for _, ip := range []string{"192.0.2.7", "198.51.100.7"} {
		c.call(post, verifyPath, object{"key": made.text("plaintextKey"), "ip": ip, "scopes": []string{"read:chat"}}).expect(t, "verify", 200, "")
	}
	c.call(del, "/v1/bias-profiles/"+profile, nil).expect(t, "delete a profile in use", 409, "state_conflict")
	c.call(patch, "/v1/bias-profiles/"+profile, object{"categories": []object{{"name": "age"}}}).expect(t, "change a profile", 200, "")
	c.call(post, "/v1/scopes", object{"name": "read:described"}).expect(t, "add a scope", 201, "")
	c.call(post, "/v1/scopes", object{"name": "read:described"}).expect(t, "add it again", 409, "state_conflict")
	c.call(get, "/v1/scopes/read:described", nil).expect(t, "a scope", 200, "")
	c.call(patch, "/v1/scopes/read:described", object{"description": "Described"}).expect(t, "describe a scope", 200, "")
	c.call(patch, "/v1/scopes/read:nothing", object{"description": "x"}).expect(t, "describe none", 404, "not_found")
	c.call(del, "/v1/scopes/read:chat", nil).expect(t, "delete a scope that keys hold", 409, "state_conflict")
	c.call(del, "/v1/scopes/read:described", nil).expect(t, "delete a scope", 204, "")
	c.call(patch, "/v1/bias-profiles/"+profile, object{"name": "Described"}).expect(t, "a name that is taken", 409, "state_conflict")
	c.call(post, "/v1/bias-profiles", object{"name": "Described"}).expect(t, "a name that is taken", 409, "state_conflict")
	for list, id := range map[string]string{"/v1/workspaces": workspace, "/v1/processes": process} {
		again := object{"name": "Described"}
		if list == "/v1/processes" {
			again["workspaceId"] = workspace
		}
		c.call(post, list, again).expect(t, "a name that is taken", 409, "state_conflict")
		c.call(patch, list+"/"+id, object{"name": "Described"}).expect(t, "a name that is taken", 409, "state_conflict")
		c.call(patch, list+"/"+id, object{"archived": false}).expect(t, "restore", 200, "")
		c.call(del, list+"/"+id, nil).expect(t, "delete what is in use", 409, "state_conflict")
		again["name"] = "To be deleted"
		c.call(del, list+"/"+c.call(post, list, again).text("id"), nil).expect(t, "delete", 204, "")
	}
	key := "/v1/api-keys/" + made.text("id")
	c.call(patch, key, object{"status": "inactive", "biasProfileId": nil}).expect(t, "disable", 200, "")
	c.call(get, key, nil).expect(t, "get", 200, "")
	c.call(get, key+"/usage?days=2", nil).expect(t, "usage", 200, "")
	turned := c.call(post, key+"/rotate", object{"graceSeconds": 60}).expect(t, "rotate", 201, "")
	c.call(post, key+"/rotate", nil).expect(t, "rotate again", 409, "state_conflict")
	c.call(patch, key, object{"name": "x"}).expect(t, "change a rotated key", 409, "state_conflict")
	next := "/v1/api-keys/" + turned.text("newKey", "id")
	c.call(del, next, nil).expect(t, "revoke", 200, "")
	c.call(del, next, nil).expect(t, "revoke again", 409, "state_conflict")
	c.call(del, next+"?permanent=true", nil).expect(t, "delete", 204, "")
	c.call(get, "/v1/audit-events?limit=100&action=key.issued&keyId="+made.text("createdBy"), nil).expect(t, "the audit log, filtered", 200, "")
	c.call(get, "/v1/audit-events?limit=100", nil).expect(t, "the audit log", 200, "")
	c.call(del, "/v1/bias-profiles/"+profile+"?moveTo=none", nil).expect(t, "delete a profile", 204, "")
	c.call(get, "/v1/nowhere", nil).expect(t, "no address", 404, "not_found")
	c.call("PUT", "/v1/api-keys", nil).expect(t, "no method", 405, "method_not_allowed")

	for path, item := range openAPIDocument().Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if answer := method + " " + path + " " + status; forPrograms(path) && !slices.Contains(rare, status) && !note.seen[answer] {
					t.Errorf("the answer %s is described and was never seen", answer)
				}
			}
		}
	}
}

// head asks for an answer without its body.
func (c *client) head(path string) {
	c.site.t.Helper()
	request, err := http.NewRequestWithContext(c.site.t.Context(), http.MethodHead, c.site.URL+path, nil)
	if err != nil {
		c.site.t.Fatal(err)
	}
	request.Header = c.header
	response, err := c.site.programs.Do(request)
	if err != nil {
		c.site.t.Fatal(err)
	}
	_ = response.Body.Close()
}

// catalogue makes a workspace, a process in it and a bias profile.
func (s *site) catalogue() (workspace, process, profile string) {
	s.t.Helper()
	err := s.store.Mutate(s.t.Context(), s.org.Owner, account.CreateWorkspace, func(tx *store.Tx) ([]audit.Change, error) {
		made, err := tx.InsertWorkspace("Research")
		if err != nil {
			return nil, err
		}
		inside, err := tx.InsertProcess(made.ID, "Nightly import")
		if err != nil {
			return nil, err
		}
		strict, err := tx.InsertProfile(apikey.Profile{Name: "Strict", DefaultThreshold: 30, Categories: []apikey.Category{{Name: "age", Enabled: true, Threshold: 20, Action: apikey.Block}}})
		workspace, process, profile = made.ID, inside.ID, strict.ID
		return []audit.Change{{Subject: audit.Subject{Kind: "workspace", ID: made.ID, Name: "Research"}},
			{Subject: audit.Subject{Kind: "process", ID: inside.ID, Name: "Nightly import"}}, {Subject: audit.Subject{Kind: "profile", ID: strict.ID, Name: "Strict"}}}, err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return workspace, process, profile
}

// TestStrayAnswersWouldBeSeen holds the test of answers to its word.
func TestStrayAnswersWouldBeSeen(t *testing.T) {
	const good = `{"items": [{"date": "2026-11-21", "accepted": 1, "refused": 0}]}`
	const path = "/v1/api-keys/0198c1f2-6f2b-7c11-9d0e-5b1f0a7c2e31/usage"
	headers := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "X-Request-Id": {"x"},
		"X-Ratelimit-Limit": {"600"}, "X-Ratelimit-Remaining": {"599"}, "X-Ratelimit-Reset": {"1"}}
	without := func(name, value string) http.Header {
		h := headers.Clone()
		h.Del(name)
		if value != "" {
			h.Set(name, value)
		}
		return h
	}
	for name, c := range map[string]struct {
		method, path string
		status       int
		header       http.Header
		body, want   string
	}{
		"as described":             {get, path + "?days=7", 200, headers, good, ""},
		"without a body":           {http.MethodHead, path, 200, headers, "", ""},
		"another status":           {get, path, 418, headers, good, "status"},
		"a header is missing":      {get, path, 200, without("X-RateLimit-Reset", ""), good, "X-RateLimit-Reset"},
		"a header is no number":    {get, path, 200, without("X-RateLimit-Reset", "soon"), good, "X-RateLimit-Reset"},
		"it may be kept":           {get, path, 200, without("Cache-Control", "public"), good, "Cache-Control"},
		"another media type":       {get, path, 200, without("Content-Type", "text/html"), good, "Content-Type"},
		"a field is missing":       {get, path, 200, headers, `{"items": [{"date": "2026-11-21", "accepted": 1}]}`, "refused"},
		"a field is of no type":    {get, path, 200, headers, `{"items": [{"date": "2026-11-21", "accepted": 1, "refused": "0"}]}`, "refused"},
		"a day is none":            {get, path, 200, headers, `{"items": [{"date": "yesterday", "accepted": 1, "refused": 0}]}`, "date"},
		"a field is not described": {get, path, 200, headers, `{"items": [{"date": "2026-11-21", "accepted": 1, "refused": 0, "x": 1}]}`, ".items[0].x"},
		"a parameter is not":       {get, path + "?weeks=1", 200, headers, good, "weeks"},
		"a parameter is too large": {get, path + "?days=91", 200, headers, good, "days"},
		"an address is not":        {get, "/v1/nowhere", 200, headers, good, "404"},
		"a method is not":          {post, path, 200, without("Allow", "GET"), good, "405"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), c.method, "http://localhost"+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = conforms(request, nil, &http.Response{StatusCode: c.status, Header: c.header}, []byte(c.body))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}
