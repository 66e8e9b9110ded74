package views

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// TestEveryIconIsDrawn looks for each icon that the templates name in the file of the icons: a browser shows an unknown one as
// an empty place, and says nothing.
func TestEveryIconIsDrawn(t *testing.T) {
	drawings, err := os.ReadFile("../static/img/icons.svg")
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]bool{}
	for _, id := range regexp.MustCompile(`<symbol[^>]* id="([^"]+)"|<symbol id="([^"]+)"`).FindAllSubmatch(drawings, -1) {
		drawn[string(id[1])+string(id[2])] = true
	}
	var files []*ast.File
	for _, pattern := range []string{"*.go", "ui/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	takes := map[string]int{"Icon": 0} // functions, by the place of the argument that names an icon
	each := func(visit func(ast.Node)) {
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool { visit(n); return true })
		}
	}
	each(func(n ast.Node) {
		f, ok := n.(*ast.FuncDecl)
		if !ok {
			return
		}
		at := 0
		for _, field := range f.Type.Params.List {
			for _, name := range field.Names {
				if name.Name == "icon" {
					takes[f.Name.Name] = at
				}
				at++
			}
		}
	})
	named := map[string]bool{}
	check := func(value ast.Expr) {
		literal, ok := value.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return // handed on; where it is named it is checked
		}
		name, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		if name != "" && !drawn[name] {
			t.Errorf("there is no icon %q in static/img/icons.svg", name)
		}
		named[name] = true
	}
	each(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if at, ok := takes[name]; ok && at < len(n.Args) {
				check(n.Args[at])
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Icon" {
				check(n.Value)
			}
		}
	})
	for _, group := range navigation(Viewer{}) {
		for _, entry := range group.Entries {
			if !drawn[entry.Icon] {
				t.Errorf("there is no icon %q in static/img/icons.svg, for %s", entry.Icon, entry.Label)
			}
			named[entry.Icon] = true
		}
	}
	if len(named) < 15 || len(drawn) < 15 {
		t.Fatalf("only %d icons are named, and %d are drawn", len(named), len(drawn))
	}
}
