// Command gather writes the licences of what is in the binary to standard output. Run it from the repository's root.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/moonlatch/moonlatch/internal/licences"
)

// embedded are the npm packages whose output static/build.mjs puts into the binary.
var embedded = []string{"@fontsource-variable/figtree", "daisyui", "htmx.org", "tailwindcss"}

// part is one piece of software, and the folder that holds its licence.
type part struct{ Name, Version, Dir string }

func main() {
	log.SetFlags(0)
	parts, err := all()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Moonlatch contains the following software of others, under these licences.")
	for _, p := range parts {
		text, err := p.licence()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("\n%s\n\n%s\n", licences.Heading(p.Name, p.Version), text)
	}
}

// all returns the parts of the binaries that are released, sorted by name.
func all() ([]part, error) {
	found := map[string]part{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		list := exec.Command("go", "list", "-deps", "-f", `{{with .Module}}{{if not .Main}}{"Name":{{printf "%q" .Path}},"Version":{{printf "%q" .Version}},"Dir":{{printf "%q" .Dir}}}{{end}}{{end}}`, "./cmd/moonlatch")
		list.Env, list.Stderr = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0"), os.Stderr
		out, err := list.Output()
		if err != nil {
			return nil, err
		}
		for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
			var p part
			if err := decoder.Decode(&p); err != nil {
				return nil, err
			}
			found[p.Name] = p
		}
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	found["Go"] = part{"Go", "standard library and runtime", strings.TrimSpace(string(goroot))}
	for _, name := range embedded {
		p := part{Name: name, Dir: filepath.Join("node_modules", name)}
		about, err := os.ReadFile(filepath.Join(p.Dir, "package.json"))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(about, &p); err != nil {
			return nil, err
		}
		p.Name = name
		found[name] = p
	}
	var parts []part
	for _, p := range found {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.Name, b.Name) })
	return parts, nil
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// licence returns the text of every file of licence in the part's folder.
func (p part) licence() (string, error) {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return "", err
	}
	var texts []string
	for _, entry := range entries {
		if entry.IsDir() || !licenceFile.MatchString(entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(p.Dir, entry.Name()))
		if err != nil {
			return "", err
		}
		lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight(lines[i], " \t\f")
		}
		texts = append(texts, strings.Trim(strings.Join(lines, "\n"), "\n"))
	}
	if len(texts) == 0 {
		return "", fmt.Errorf("%s %s: no licence in %s", p.Name, p.Version, p.Dir)
	}
	return strings.Join(texts, "\n\n"), nil
}
