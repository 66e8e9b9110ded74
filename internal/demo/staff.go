package demo

import (
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// employee is a member, with where they work from. Addresses are of the ranges for documentation (RFC 5737, RFC 3849),
// the domain is of those for examples (RFC 2606).
type employee struct {
	name    string
	role    account.Role
	address string
	agent   string

	actor    account.Actor
	signedIn time.Time
}

// handle is the first name, by which the stories call people.
func (e employee) handle() string {
	first, _, _ := strings.Cut(strings.ToLower(e.name), " ")
	return first
}

const domain = "@fernhill.example"

func (e employee) email() string { return e.handle() + domain }

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	chrome  = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
	safari  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15"
)

var staff = []employee{
	{name: "Maya Okafor", role: account.Owner, address: "198.51.100.7", agent: safari},
	{name: "Jonas Lindqvist", role: account.Admin, address: "203.0.113.24", agent: firefox},
	{name: "Priya Raman", role: account.Admin, address: "2001:db8:7::24", agent: chrome},
	{name: "Sam Whitlock", role: account.Support, address: "203.0.113.31", agent: chrome},
	{name: "Elif Demir", role: account.Member, address: "198.51.100.40", agent: safari},
	{name: "Victor Hale", role: account.Admin, address: "198.51.100.61", agent: firefox},
	{name: "Nils Aalto", role: account.Support, address: "203.0.113.77", agent: firefox},
}

const founder = "maya"

// departure is how somebody left, so long ago.
type departure struct {
	handle string
	status account.Status
	ago    time.Duration
}

var departures = []departure{
	{"victor", account.Suspended, 25 * apikey.Day}, // and still owns keys
	{"nils", account.Removed, 150 * apikey.Day},
}

// invited are those who were asked to come, so long ago, and have not yet.
var invited = []struct {
	handle string
	role   account.Role
	ago    time.Duration
}{
	{"noor", account.Admin, 2 * apikey.Day},
	{"tomas", account.Member, 12 * apikey.Day},
}

// refusals are attempts that failed, so long ago, from the member's own address unless another is given.
var refusals = []struct {
	ago     time.Duration
	handle  string
	kind    string
	times   int // within minutes
	detail  string
	address string
	key     string // the name of the key that was refused
}{
	{ago: 41 * apikey.Day, handle: "jonas", kind: audit.PasswordFailed, times: 1},
	{ago: 20 * apikey.Day, handle: "victor", kind: audit.SignInFailed, times: 2, detail: string(account.Suspended)},
	{ago: 9 * apikey.Day, handle: "sam", kind: audit.OriginRefused, times: 1},
	{ago: 31 * time.Hour, handle: "maya", kind: audit.SignInFailed, times: 10, address: stranger},
	{ago: 31*time.Hour - 81*time.Second, handle: "maya", kind: audit.SignInLocked, times: 1, address: stranger},
	{ago: 31*time.Hour - 2*time.Minute, handle: "priya", kind: audit.SignInFailed, times: 4, address: stranger},
	{ago: 3 * apikey.Day, handle: "sam", kind: audit.PermissionRefused, times: 1, detail: string(account.RevokeKey)},
	{ago: 26 * time.Hour, handle: "elif", kind: audit.SignInFailed, times: 2},
	{ago: 7 * time.Hour, handle: "priya", kind: audit.PermissionRefused, times: 38, detail: string(account.ReadConfig), address: "198.51.100.130", key: "CI pipeline"},
	{ago: 4 * time.Hour, handle: "elif", kind: audit.PermissionRefused, times: 3, detail: string(account.ReadKeys)},
}

// stranger is an address that nobody at work uses.
const stranger = "192.0.2.66"

// founded is when the organisation began: so long ago.
const founded = 420 * apikey.Day

var workspaces = []struct {
	name     string
	archived time.Duration // so long ago; 0 for one that is in use
}{
	{"Storefront", 0},
	{"Analytics", 0},
	{"Customer care", 0},
	{"Print catalogue", days(140)},
}

var processes = []struct {
	name, workspace string
	archived        time.Duration
}{
	{"Checkout", "Storefront", 0},
	{"Product search", "Storefront", 0},
	{"Gift cards", "Storefront", 0},
	{"Nightly export", "Analytics", 0},
	{"Recommendation training", "Analytics", 0},
	{"Chat assistant", "Customer care", 0},
	{"Telephone menu", "Customer care", days(75)},
}

// scopes are the organisation's own, beside those that every organisation begins with. A retired one was retired so long ago.
var scopes = []struct {
	name, description string
	retired           time.Duration
}{
	{name: "read:orders", description: "List and read orders"},
	{name: "write:orders", description: "Place, change and cancel orders"},
	{name: "read:recommendations", description: "Ask for recommendations of the first model", retired: 60 * apikey.Day},
}

// The policy was tightened so long ago. Some keys are older than its rules and break them.
const tightened = 12 * apikey.Day

var policy = keyring.PolicyDraft{Version: 1, LongestDays: "365", DefaultDays: "90", GraceSeconds: "604800", UnusedDays: "120", Confirmed: true}

var profiles = []apikey.Profile{
	{Name: "Balanced", Description: "For what customers see: blocks what is clearly biased, flags what may be.", DefaultThreshold: apikey.DefaultThreshold,
		Categories: categories(50, apikey.Flag, map[string]apikey.Category{
			"race":   {Enabled: true, Threshold: 40, Action: apikey.Block},
			"gender": {Enabled: true, Threshold: 45, Action: apikey.Block},
		})},
	{Name: "Hiring, strict", Description: "For texts about applicants. Agreed with the works council.", DefaultThreshold: 25,
		Categories: categories(20, apikey.Block, nil)},
	{Name: "Care conversations", Description: "People speak about their health and faith here; only attacks are blocked.", DefaultThreshold: 60,
		Categories: append(categories(60, apikey.Flag, map[string]apikey.Category{
			"disability": {Enabled: true, Threshold: 75, Action: apikey.Block},
			"religion":   {Enabled: true, Threshold: 75, Action: apikey.Block},
		}), apikey.Category{Name: "native language", Enabled: true, Threshold: 50, Action: apikey.Flag})},
	{Name: "Research, flags only", Description: "Counts and never blocks.", DefaultThreshold: 80,
		Categories: categories(80, apikey.Flag, map[string]apikey.Category{
			"age":           {Threshold: 80, Action: apikey.Flag},
			"socioeconomic": {Threshold: 80, Action: apikey.Flag},
		})},
}

// categories are the common kinds of bias with one threshold and action, but for some.
func categories(threshold int, action apikey.CategoryAction, but map[string]apikey.Category) []apikey.Category {
	var out []apikey.Category
	for _, name := range apikey.Categories {
		c, ok := but[name]
		if !ok {
			c = apikey.Category{Enabled: true, Threshold: threshold, Action: action}
		}
		c.Name = name
		out = append(out, c)
	}
	return out
}
