package handlers

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestNoSecretIsWrittenDown issues keys in every way, shows them in every place, also where nobody should, while all is
// well, while the database fails and while it is gone; and then looks for them in the whole log and in every column of
// every table.
func TestNoSecretIsWrittenDown(t *testing.T) {
	databaseURL := storetest.URL(t)
	cable, address := storetest.Lay(t, databaseURL)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	log := &logBook{}
	here := siteOver(t, s, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	here.programs = http.DefaultClient // what is wrong with a request is the point
	here.org = storetest.Organisation(t, s)
	db := storetest.DB(t, databaseURL)

	owner := here.as(here.org.Owner)
	token := here.token(here.org.Owner)
	program := here.with(token)
	var keys []string
	page := owner.post("/account/api-keys/new", owner.keyForm("by a person"))
	keys = append(keys, plaintextShape.FindString(page.body))
	made := program.call(post, "/v1/api-keys", object{"name": "by a program", "scopes": []string{"read:chat", "read:api-keys", "write:api-keys", "verify:api-keys"}}).expect(t, "issue", 201, "")
	keys = append(keys, made.text("plaintextKey"))
	id := made.text("id")
	keys = append(keys, here.with(keys[1]).call(post, "/v1/api-keys", object{"name": "by a key", "scopes": []string{"read:chat"}}).expect(t, "issue", 201, "").text("plaintextKey"))
	turned := program.call(post, "/v1/api-keys/"+id+"/rotate", object{"graceSeconds": 3600}).expect(t, "rotate", 201, "")
	keys = append(keys, turned.text("newKey", "plaintextKey"))
	page = owner.post("/account/api-keys/"+turned.text("newKey", "id")+"/rotate", url.Values{"graceSeconds": {"3600"}})
	keys = append(keys, plaintextShape.FindString(page.body))

	link := program.call(post, "/v1/members", object{"email": "one@example.com", "role": "admin"}).expect(t, "invite", 201, "").text("invitation", "url")
	links := []string{owner.invited("two@example.com", "admin"), strings.TrimPrefix(link, "http://localhost"), owner.invited("three@example.com", "admin")}

	secrets := map[string]string{"the session's token": token, "the token's signature": token[strings.LastIndexByte(token, '.')+1:]}
	for i, link := range links {
		secrets[fmt.Sprintf("invitation %d", i)] = strings.TrimPrefix(link, "/join/")
	}
	base, err := url.Parse(here.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range owner.Jar.Cookies(base) {
		secrets["a browser's cookie"] = cookie.Value
	}
	for i, key := range keys {
		if len(key) != 59 {
			t.Fatalf("the key %d was not shown", i)
		}
		pass := key[21:]
		secrets[fmt.Sprintf("key %d", i)] = pass
		secrets[fmt.Sprintf("key %d without its checksum", i)] = pass[:32]
		secrets[fmt.Sprintf("key %d in hexadecimal", i)] = fmt.Sprintf("%x", pass)
		secrets[fmt.Sprintf("key %d as HTTP Basic has it", i)] = base64.StdEncoding.EncodeToString([]byte(key[:20] + ":" + pass))[4:76]
	}
	if len(secrets) != 3+len(links)+4*len(keys) {
		t.Fatalf("%d secrets", len(secrets))
	}

	everywhere := func(text string) {
		for _, link := range links { // while all is well the last one is used, once
			here.visitor().get(link)
			here.visitor().post(link, url.Values{"name": {"Somebody"}, "password": {"short"}})
			owner.send(get, "/sign-in?next="+link, nil, map[string]string{"User-Agent": link, "Referer": here.URL + link})
		}
		here.visitor().post(links[2], url.Values{"name": {"Somebody"}, "password": {"seven quiet herons wade"}})
		basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
		user, pass := text[:20], text[21:]
		for _, header := range [][]string{
			{"Authorization", "Bearer " + text}, {"X-Api-Key", text}, {"Authorization", basic(user + ":" + pass)},
			{"Authorization", "Bearer " + text + "x"}, {"Authorization", text}, {"Authorization", "Basic " + text}, {"Authorization", basic(text)}, {"Authorization", basic(user + ":x" + pass)},
			{"X-Api-Key", text, "Authorization", "Bearer " + text}, {"Authorization", "Bearer " + token, "Idempotency-Key", text}, {"Authorization", "Bearer " + token, "Content-Type", text},
			{"Authorization", "Bearer " + text, "X-Forwarded-For", text, "X-Request-Id", text, "Referer", here.URL + "/?key=" + text, "Cookie", "moonlatch=" + text, "Origin", text},
			{"Authorization", "Bearer " + token, "User-Agent", strings.Repeat("x", 270) + text},
			{"Authorization", "Bearer " + text, "User-Agent", "client/1 " + text}, // the last, which is what is kept of a key's use
		} {
			c := here.client(header...)
			c.call(get, "/v1/api-keys", nil)
			c.call(get, "/v1/api-keys/"+id+"/usage", nil)
			c.call(get, forwardAuthPath+"?scope=read:chat", nil)
			c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}})
			c.call(post, verifyPath, object{"key": text, "scopes": []string{text}})
			c.call(post, "/v1/auth/login", object{"email": here.org.Owner.Email, "password": text})
		}
		for _, path := range []string{"/v1/api-keys?q=" + text, "/v1/api-keys?cursor=" + text, "/v1/api-keys?ownerId=" + text, "/v1/api-keys?" + text + "=1", "/v1/api-keys/" + text, "/v1/" + text, "/v1/audit-events?actorId=" + text, "/v1/audit-events?action=" + text,
			forwardAuthPath + "?scope=" + text, forwardAuthPath + "?org=" + text} {
			program.call(get, path, nil)
		}
		for _, body := range []object{{"name": text, "scopes": []string{"read:chat"}}, {"name": "x", "scopes": []string{text}}, {"name": "x", "scopes": []string{"read:chat"}, "expiresAt": text},
			{"name": "x", "scopes": []string{"read:chat"}, "ipAllowlist": []string{text}}, {"name": "x", "scopes": []string{"read:chat"}, "workspaceId": text}, {"name": "x", "environment": text}, {text: text}} {
			program.call(post, "/v1/api-keys", body)
			program.call(patch, "/v1/api-keys/"+id, body)
		}
		program.call(post, "/v1/api-keys", text)
		program.call(post, "/v1/auth/login", object{"email": text + "@example.com", "password": text})
		for _, path := range []string{"/account/api-keys?q=" + text, "/account/api-keys?scope=" + text, "/account/api-keys?owner=" + text, "/account/api-keys?cursor=" + text, "/account/api-keys/" + text, "/account/api-keys/new?name=" + text,
			"/sign-in?next=/account?key=" + text, "/setup/" + text, "/join/" + text, "/members?q=" + text, "/members/" + text, "/" + text, "/static/" + text} {
			owner.get(path)
			here.visitor().get(path)
		}
		for path, form := range map[string]url.Values{
			"/account/api-keys/new":             {"name": {text}, "scopes": {"read:chat", text}, "expires": {text}, "ipAllowlist": {text}, "nonce": {text}, "return": {"/" + text}},
			"/account/api-keys/" + id + "/edit": {"name": {text}, "ipAllowlist": {text}, "biasProfileId": {text}, "return": {"/" + text}},
			"/sign-in":                          {"email": {text + "@example.com"}, "password": {text}, "next": {"/" + text}},
			"/setup/x":                          {"organisation": {text}, "name": {text}, "email": {text}, "password": {text}},
		} {
			owner.send(post, path, form, map[string]string{"User-Agent": text, "Referer": here.URL + "/" + text, "HX-Request": "true", "HX-Target": text})
			here.visitor().send(post, path, form, map[string]string{"User-Agent": text})
		}
	}
	alter := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range keys[:3] {
		everywhere(key)
	}
	alter(`ALTER TABLE key_usage RENAME TO gone`)
	alter(`ALTER TABLE key_policies RENAME TO gone_too`)
	everywhere(keys[3])
	alter(`ALTER TABLE gone RENAME TO key_usage`)
	alter(`ALTER TABLE gone_too RENAME TO key_policies`)
	everywhere(keys[4])
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { // until the use of the last key is written down
		var agents int
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM key_use WHERE user_agent <> ''`).Scan(&agents); err != nil {
			t.Fatal(err)
		}
		if agents >= len(keys)-1 { // the fourth key was used while nothing could be written down, and that was given up or not
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the use of %d keys is written down", agents)
		}
	}
	cable.Cut()
	everywhere(keys[0])
	cable.Mend()

	logged := log.String()
	logged += here.log.String()
	if strings.Count(logged, "status=500") < 10 || strings.Count(logged, "status=503") < 10 || !strings.Contains(logged, "request failed") {
		t.Fatal("the requests did not fail as they should have")
	}
	for what, secret := range secrets {
		if at := strings.Index(logged, secret); at >= 0 {
			t.Errorf("the log has %s: %s", what, logged[max(0, at-200):at])
		}
	}
	tables := 0
	for _, table := range column(t, databaseURL, `SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'`) {
		tables++
		for _, row := range column(t, databaseURL, `SELECT t::text FROM `+table+` AS t`) {
			for what, secret := range secrets {
				if strings.Contains(row, secret) || strings.Contains(row, fmt.Sprintf("%x", secret)) {
					t.Errorf("the table %s has %s: %s", table, what, row)
				}
			}
		}
	}
	if tables < 15 {
		t.Errorf("%d tables were looked through", tables)
	}
	t.Logf("%d bytes of log and %d tables were looked through for %d secrets", len(logged), tables, len(secrets))
}

// column reads the one column of a query's rows.
func column(t *testing.T, databaseURL, query string) (out []string) {
	t.Helper()
	rows, err := storetest.DB(t, databaseURL).QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
