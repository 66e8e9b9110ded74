package audit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// TestEveryKindIsListed reads the constants, so that a new one can't be left out of what filters accept.
func TestEveryKindIsListed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "security.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	ast.Inspect(file, func(n ast.Node) bool {
		declared, ok := n.(*ast.GenDecl)
		if !ok || declared.Tok != token.CONST {
			return true
		}
		for _, spec := range declared.Specs {
			for _, value := range spec.(*ast.ValueSpec).Values {
				if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					kind, _ := strconv.Unquote(literal.Value)
					kinds = append(kinds, kind)
				}
			}
		}
		return false
	})
	if !slices.Equal(kinds, SecurityKinds) || len(kinds) == 0 {
		t.Errorf("the kinds are %q, and listed are %q", kinds, SecurityKinds)
	}
}
