package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// nowhere is a database that no mistake in the arguments gets as far as.
var nowhere = []string{"DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/x"}

func TestAMistakeInTheArgumentsIsOneLineAndExit2(t *testing.T) {
	user := "user create --organisation Acme --email a@acme.test --role owner"
	for args, says := range map[string]string{
		"bogus":                           `no command "bogus"`,
		"user bogus":                      `no command "bogus"`,
		"--bogus":                         "-bogus; see moonlatch --help",
		"serve --bogus":                   "-bogus; see moonlatch serve --help",
		"serve extra":                     "no other arguments",
		"version extra":                   "no other arguments",
		"serve --demo=maybe":              "demo",
		"key issue":                       "organisation",
		"key issue --organisation":        "organisation",
		"user create --organisation Acme": "email",
		user:                              "password-stdin",
		user + " --password-stdin":        "standard input has no password",
		user + " --password-stdin secret": "no other arguments",
		user + " --password hunter2":      "flag provided but not defined",
	} {
		t.Run(args, func(t *testing.T) {
			moonlatch(t, nowhere, "", strings.Fields(args)...).expect(t, exitUsage, says)
		})
	}
}

// TestNoFlagTakesABlankValueOrASecondOne tries every flag that the commands declare, beside those that its command requires.
func TestNoFlagTakesABlankValueOrASecondOne(t *testing.T) {
	tried := 0
	var try func(path []string, c *cli.Command)
	try = func(path []string, c *cli.Command) {
		for _, sub := range c.Commands {
			try(append(slices.Clone(path), sub.Name), sub)
		}
		given := func(flag cli.Flag) []string {
			if _, isSwitch := flag.(*cli.BoolFlag); isSwitch {
				return []string{"--" + flag.Names()[0]}
			}
			return []string{"--" + flag.Names()[0], "x"}
		}
		for _, flag := range c.Flags {
			name := "--" + flag.Names()[0]
			args := slices.Clone(path)
			for _, other := range c.Flags {
				if required, ok := other.(cli.RequiredFlag); ok && required.IsRequired() && other != flag {
					args = append(args, given(other)...)
				}
			}
			refused := func(says string, more ...string) {
				t.Helper()
				moonlatch(t, []string{"ADDR=wrong"}, "", slices.Concat(args, more)...).expect(t, exitUsage, says) // which ends what is not refused
			}
			tried++
			refused(name+" is empty", name+"=")
			if _, isSwitch := flag.(*cli.BoolFlag); !isSwitch {
				refused(name+" is empty", name, "")
				refused(name+" is empty", name, " \t")
				refused(name+" is empty", name+"= ")
			}
			if _, repeatable := flag.(*cli.StringSliceFlag); repeatable {
				refused(name+" is empty", name, "x", name, "")
				refused(name+" is empty", name, "x, ")
			} else {
				refused(name+" was given 2 times", slices.Concat(given(flag), given(flag))...)
			}
		}
	}
	try(nil, (&program{}).commands())
	if tried < 20 {
		t.Errorf("%d flags were tried", tried)
	}
}

func TestWrongConfigurationIsOneLineAndExit78(t *testing.T) {
	for variable, says := range map[string]string{
		"ADDR=8080":                                        "ADDR: ",
		"ADDR=127.0.0.1:http":                              "ADDR: ",
		"ADDR=127.0.0.1:70000":                             "ADDR: ",
		"BASE_URL=keys.example":                            "BASE_URL: ",
		"BASE_URL=ftp://keys":                              "BASE_URL: ",
		"BASE_URL=https://":                                "BASE_URL: ",
		"BASE_URL=https://k/path":                          "BASE_URL: a sub-path like /path is not supported",
		"ADDR=a..b:80":                                     "ADDR: ",
		"ADDR=999.1.1.1:80":                                "ADDR: ",
		"METRICS_ADDR=127.0.0.1:70000":                     "METRICS_ADDR: ",
		"METRICS_ADDR=-a:9090":                             "METRICS_ADDR: ",
		"TRUSTED_PROXIES=,":                                `TRUSTED_PROXIES: "," names no address`,
		"BASE_URL=https://a:99999":                         `BASE_URL: "99999" is not a port`,
		"BASE_URL=https://a:0":                             `BASE_URL: "0" is not a port`,
		"BASE_URL=https://[::1]:65536":                     "BASE_URL: ",
		"BASE_URL=https://a:":                              "BASE_URL: ",
		"BASE_URL=https://a..b":                            `BASE_URL: "a..b" is not a host`,
		"BASE_URL=https://.a":                              "BASE_URL: ",
		"BASE_URL=https://.":                               "BASE_URL: ",
		"BASE_URL=https://-a.b":                            "BASE_URL: ",
		"BASE_URL=https://*.example.com":                   "BASE_URL: ",
		"BASE_URL=https://a,b":                             "BASE_URL: ",
		"BASE_URL=https://schlüssel.example":               "BASE_URL: ",
		"BASE_URL=https://256.1.1.1":                       "BASE_URL: ",
		"BASE_URL=https://[fe80::1%25eth0]":                "BASE_URL: ",
		"BASE_URL=https://" + strings.Repeat("a", 64):      "BASE_URL: ",
		"DATABASE_URL=postgres://u:hunter2@h:99999/x":      "DATABASE_URL: ",
		"BASE_URL=https://k?q=1":                           "BASE_URL: ",
		"BASE_URL=https://u:hunter2@k":                     "BASE_URL: ",
		"HSTS_INCLUDE_SUBDOMAINS=perhaps":                  "HSTS_INCLUDE_SUBDOMAINS: ",
		"HSTS_INCLUDE_SUBDOMAINS=true":                     "BASE_URL that begins with https://",
		"TRUSTED_PROXIES=10.0.0.0/8,proxy":                 `TRUSTED_PROXIES: "proxy"`,
		"TRUSTED_PROXIES=10.0.0.1/8":                       "10.0.0.0/8",
		"USAGE_RETENTION=89":                               "USAGE_RETENTION: ",
		"USAGE_RETENTION=0":                                "USAGE_RETENTION: ",
		"USAGE_RETENTION=forever":                          "from 90",
		"USAGE_RETENTION=3651":                             "USAGE_RETENTION: ",
		"LOG_FORMAT=xml":                                   "LOG_FORMAT: ",
		"LOG_LEVEL=loud":                                   "LOG_LEVEL: ",
		"DATABASE_URL=postgresql+x://u:hunter2@h/x":        "must be a postgres:// address",
		"DATABASE_URL=mysql://u:hunter2@h/x":               "DATABASE_URL: ",
		"DATABASE_URL=host=h password=hunter2":             "DATABASE_URL: ",
		"DATABASE_URL=postgres://u:hunter2%zz@h/x":         "like %23 for #",
		"DATABASE_URL=postgres://u:hunter2#w@h/x":          "like %23 for #",
		"DATABASE_URL=postgres://u:hunter2 w@h/x":          "like %23 for #",
		"METRICS_ADDR=127.0.0.1:8080":                      "METRICS_ADDR: is the same as ADDR",
		"METRICS_ADDR=:8080":                               "METRICS_ADDR: is the same as ADDR",
		"DATABASE_URL=postgres://u:hunter2@h:port/x":       "DATABASE_URL: ",
		"DATABASE_URL=postgres://u:hunter2@h/x?sslmode=on": "DATABASE_URL: ",
	} {
		t.Run(variable, func(t *testing.T) {
			o := moonlatch(t, []string{variable}, "", "serve").expect(t, exitConfig, says)
			if strings.Contains(o.stderr, "hunter2") {
				t.Errorf("it repeats the password: %q", o.stderr)
			}
		})
	}
}

func TestEveryMistakeInTheConfigurationIsNamedAtOnce(t *testing.T) {
	moonlatch(t, []string{"ADDR=x", "LOG_LEVEL=loud"}, "", "migrate").expect(t, exitConfig, "ADDR: ").expect(t, exitConfig, "LOG_LEVEL: ")
}

func TestConfigurationIsRead(t *testing.T) {
	c, err := readConfig([]string{"ADDR=:9000", "TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.7", "LOG_FORMAT=json", "LOG_LEVEL=", "USAGE_RETENTION=365", "PATH=/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.TrustedProxies) != 2 || c.TrustedProxies[1].String() != "192.0.2.7/32" || c.LogLevel != "info" || c.DataDir != "data" || c.UsageRetention != 365 || c.DatabaseURL != "" {
		t.Errorf("%+v", c)
	}
	for said, want := range map[string]string{
		"https://KEYS.example.com:443": "https://keys.example.com", "http://Keys:80/": "http://keys", "https://keys:80": "https://keys:80", "http://[::1]:80": "http://[::1]", "http://[2001:DB8::80]": "http://[2001:db8::80]",
	} {
		if c, err := readConfig([]string{"BASE_URL=" + said}); err != nil || c.BaseURL.String() != want {
			t.Errorf("%s is read as %v, %v", said, c.BaseURL, err)
		}
	}
	for _, apart := range []string{"127.0.0.1:9090", "127.0.0.2:8080", ""} {
		if _, err := readConfig([]string{"METRICS_ADDR=" + apart}); err != nil {
			t.Errorf("METRICS_ADDR=%s: %v", apart, err)
		}
	}
	for listening, want := range map[string]string{
		"[::]:9000":      "http://localhost:9000",
		"0.0.0.0:9000":   "http://localhost:9000",
		"127.0.0.1:9000": "http://127.0.0.1:9000",
		"[::1]:9000":     "http://[::1]:9000",
	} {
		if got := c.baseURL(listening).String(); got != want {
			t.Errorf("listening on %s it is reached at %s, not %s", listening, got, want)
		}
	}
	for _, right := range []string{"BASE_URL=http://localhost:1", "BASE_URL=https://my_host.a-1.example:65535", "BASE_URL=https://[2001:db8::1]:8443", "BASE_URL=http://192.0.2.7",
		"BASE_URL=https://xn--schlssel-95a.example.", "ADDR=localhost:0", "ADDR=[fe80::1%eth0]:80", "METRICS_ADDR=:9090"} {
		if _, err := readConfig([]string{right}); err != nil {
			t.Errorf("%s: %v", right, err)
		}
	}
	c, err = readConfig([]string{"BASE_URL=https://keys.example.com/"})
	if got := c.baseURL("127.0.0.1:9000").String(); err != nil || got != "https://keys.example.com" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestHelpListsEveryVariableAndCommand(t *testing.T) {
	help := moonlatch(t, nil, "", "--help").expect(t, exitDone, "moonlatch").stdout
	for field := range reflect.TypeFor[config]().Fields() {
		name, text := field.Tag.Get("env"), field.Tag.Get("help")
		if text == "" || !strings.Contains(help, name+" ") || !strings.Contains(help, text) || !strings.Contains(help, field.Tag.Get("envDefault")) {
			t.Errorf("%s is not explained", name)
		}
	}
	for _, command := range []string{"serve", "migrate", "demo", "user", "key", "signing-key", "audit", "version", "licences"} {
		if !strings.Contains(help, "\n   "+command+" ") {
			t.Errorf("the command %s is not listed", command)
		}
	}
	moonlatch(t, nil, "", "key", "issue", "--help").expect(t, exitDone, "--expires-in")
	if said := moonlatch(t, []string{"ADDR=wrong"}, "", "help").expect(t, exitDone, "moonlatch").stdout; said != help {
		t.Errorf("help says %q", said)
	}
	moonlatch(t, nil, "", "help", "user", "create").expect(t, exitDone, "--password-stdin")
	moonlatch(t, nil, "", "help", "nothing").expect(t, exitUsage, "No help topic for 'nothing'")
	moonlatch(t, nil, "", "help", "user", "nothing").expect(t, exitUsage, "nothing")
}

func TestVersionNeedsNothing(t *testing.T) {
	for _, argument := range []string{"version", "--version"} {
		if o := moonlatch(t, []string{"ADDR=wrong"}, "", argument); o.code != exitDone || o.stdout != "moonlatch "+version+"\n" {
			t.Errorf("%s: exit %d, %q, %q", argument, o.code, o.stdout, o.stderr)
		}
	}
}

func TestADatabaseThatDoesNotAnswerIsOneLineWithoutItsPassword(t *testing.T) {
	o := moonlatch(t, nowhere, "", "audit", "verify").expect(t, exitFailed, "the database does not answer")
	if strings.Contains(o.stderr, "hunter2") {
		t.Errorf("it repeats the password: %q", o.stderr)
	}
}
