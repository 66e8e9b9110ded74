package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/licences"
)

// What the program answers the shell with.
const (
	exitDone   = 0
	exitFailed = 1  // something went wrong
	exitUsage  = 2  // the arguments are mistaken; a crash of the program exits with 2 as well
	exitConfig = 78 // the configuration is mistaken: EX_CONFIG of sysexits.h, which the systemd unit doesn't restart after
)

// usageError is a mistake in the arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// configError is a mistake in the configuration.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

func misused(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// run is the program: what it is given is all it knows of the world. Its mistakes are one line on stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, env: env, closing: make(chan struct{})}
	help := len(args) > 1 && args[1] == "help"
	switch {
	case help:
		args = slices.Concat(args[:1], args[2:], []string{"--help"})
	case len(args) == 2 && args[1] == "--version":
		args = []string{args[0], "version"}
	}
	err := p.runCommand(ctx, args)
	if err == nil {
		return exitDone
	}
	if help {
		err = usageError{err}
	}
	if p.announce = (config{LogFormat: logFormat(variable(env, "LOG_FORMAT"))}).announcer(stderr); p.announce != nil {
		p.announce.Error("moonlatch failed", "error", oneLine(err))
	} else {
		fmt.Fprintln(stderr, "moonlatch: "+oneLine(err))
	}
	switch {
	case errors.As(err, &configError{}):
		return exitConfig
	case errors.As(err, &usageError{}) || input.ProblemsIn(err) != nil:
		return exitUsage
	}
	return exitFailed
}

// runCommand refuses --flag= itself: the library takes that for --flag where the flag is a switch.
func (p *program) runCommand(ctx context.Context, args []string) error {
	for _, arg := range args {
		if flag, value, found := strings.Cut(arg, "="); found && strings.HasPrefix(flag, "-") && blank(value) {
			return emptyFlag(flag)
		}
	}
	return p.commands().Run(ctx, args)
}

// variable is the value of a variable in an environment, "" when it is not set.
func variable(environment []string, name string) (value string) {
	for _, pair := range environment {
		if key, v, _ := strings.Cut(pair, "="); key == name {
			value = v
		}
	}
	return value
}

// program is one run.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string
	config         config
	log            *slog.Logger
	announce       *slog.Logger  // set by serve when the log is JSON: for what is printed otherwise
	stopping       atomic.Bool   // serve was told to stop
	closing        chan struct{} // closed when serve accepts no more requests
}

func (p *program) commands() *cli.Command {
	root := &cli.Command{
		Name:            "moonlatch",
		Usage:           "the console for your API's keys",
		HideHelpCommand: true, // run takes "help" for --help
		Description:     "Configuration comes from the environment:\n\n" + configHelp(),
		Reader:          p.stdin,
		Writer:          p.stdout,
		ErrWriter:       p.stderr,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // run alone speaks and exits
		ArgValidator:    checkArguments,
		Commands: []*cli.Command{
			p.serveCommand(), p.migrateCommand(), p.demoCommand(),
			{Name: "user", Usage: "make and erase accounts, and set passwords and addresses", Commands: []*cli.Command{p.userCreateCommand(), p.userPasswordCommand(), p.userEmailCommand(), p.userEraseCommand()}},
			{Name: "key", Usage: "issue and revoke keys", Commands: []*cli.Command{p.keyIssueCommand(), p.keyRevokeCommand()}},
			{Name: "signing-key", Usage: "change the key that signs session tokens", Commands: []*cli.Command{p.signingKeyRotateCommand()}},
			{Name: "audit", Usage: "check the audit log", Commands: []*cli.Command{p.auditVerifyCommand()}},
			{Name: "version", Usage: "say which version this is, as --version does", Action: func(context.Context, *cli.Command) error {
				_, err := fmt.Fprintln(p.stdout, "moonlatch", version)
				return err
			}},
			{Name: "licences", Usage: "print the licences of the software of others in this program", Action: func(context.Context, *cli.Command) error {
				_, err := io.WriteString(p.stdout, licences.Text)
				return err
			}},
		},
	}
	speakPlainly(root)
	return root
}

// speakPlainly makes every mistake in the arguments an error that says where help is, and nothing more.
func speakPlainly(c *cli.Command) {
	c.OnUsageError = func(_ context.Context, c *cli.Command, err error, _ bool) error {
		return misused("%w; see %s --help", err, c.FullName())
	}
	for _, sub := range c.Commands {
		speakPlainly(sub)
	}
}

// checkArguments refuses what is no command and no flag, and what checkFlags refuses. An argument is repeated only where it
// can't be a secret.
func checkArguments(_ context.Context, c *cli.Command) error {
	switch {
	case !c.Args().Present():
		return checkFlags(c)
	case len(c.Commands) > 0:
		return misused("there is no command %q; see %s --help", c.Args().First(), c.FullName())
	}
	return misused("%s takes flags and no other arguments; see %s --help", c.Name, c.FullName())
}

// checkFlags returns an error for a flag of the command that was given a blank value, or two values where it takes one.
// A script's unset variable would otherwise count as a flag left out, and issue a key that is accepted from anywhere.
func checkFlags(c *cli.Command) error {
	for _, flag := range c.Flags {
		name := flag.Names()[0]
		if !flag.IsSet() {
			continue
		}
		values, repeatable := c.Value(name).([]string)
		if !repeatable {
			values = []string{fmt.Sprint(c.Value(name))}
			if times := c.Count(name); times > 1 {
				return misused("--%s was given %d times and takes one value; see %s --help", name, times, c.FullName())
			}
		}
		if slices.ContainsFunc(values, blank) {
			return emptyFlag("--" + name)
		}
	}
	return nil
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }

func emptyFlag(flag string) error {
	return misused("%s is empty: give it a value, or leave the flag out", flag)
}

// configured reads the configuration before a command begins its work.
func (p *program) configured(work func(context.Context, *cli.Command) error) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) (err error) {
		if p.config, err = readConfig(p.env); err != nil {
			return err
		}
		p.log = p.config.logger(p.stderr)
		return work(ctx, c)
	}
}

// oneLine is an error for a terminal: the problems with an input by the flags that it came from.
func oneLine(err error) string {
	text := err.Error()
	if problems := input.ProblemsIn(err); problems != nil {
		var said []string
		for _, field := range slices.Sorted(maps.Keys(problems)) {
			said = append(said, flagOf(field)+": "+problems[field])
		}
		text = strings.Join(said, " ")
	}
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
}

// flagOf is what a field of an input is called on the command line.
func flagOf(field string) string {
	switch field {
	case "password":
		return "the password"
	case "scopes":
		return "--scope"
	case "ipAllowlist":
		return "--allow"
	case "workspaceId":
		return "--workspace"
	case "expiresAt":
		return "--expires-in"
	}
	return "--" + field
}
