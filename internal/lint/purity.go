package lint

import (
	"fmt"
	"go/ast"
	"path"
	"strings"
)

// pure rooms decide by values alone: time, randomness and the outside world
// come in as arguments, so that a decision can be replayed, tested by the
// million and simulated.
var pure = []string{
	"metadatalog/record", "metadatalog/image", "config", "quorum/controller",
	"broker/group", "broker/txn", "broker/replica/core", "broker/storage/producer", "broker/incarnation", "broker/peerlog", "security",
	"migration/brokerconfig", "migration/convert", "migration/driver", "migration/progress", "migration/znode", "migration/zkbroker/control",
}

// impure packages are not imported by a pure room, nor is anything below them, but
// for net/netip, which is values and their text.
var impure = []string{"os", "net", "sync", "syscall", "log", "crypto/rand", "io/ioutil", "runtime", "unsafe"}

// impureTime are the functions of package time that read a clock or wait; its
// types and arithmetic are free.
var impureTime = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTicker": true, "NewTimer": true,
}

// seededRandom are the names of math/rand and math/rand/v2 that draw from a
// source that the caller gave; all others draw from the global one.
var seededRandom = map[string]bool{
	"Rand": true, "New": true, "Source": true, "Source64": true, "NewSource": true,
	"PCG": true, "NewPCG": true, "ChaCha8": true, "NewChaCha8": true, "Zipf": true, "NewZipf": true,
}

// checkPurity applies the purity rules to a package of a pure room; its tests,
// and the commands that write its code, may do as they like.
func (t *Tree) checkPurity(p *sourcePackage) []Violation {
	home, _ := room(p.dir)
	if !contains(pure, home) {
		return nil
	}
	var found []Violation
	for _, f := range p.files {
		if !f.test && f.syntax.Name.Name != "main" {
			found = append(found, t.impurities(f)...)
		}
	}
	return found
}

// impurities finds what a file of a pure room may not have.
func (t *Tree) impurities(f *sourceFile) []Violation {
	var found []Violation
	report := func(n ast.Node, format string, args ...any) {
		found = append(found, Violation{File: f.path, Line: t.line(n.Pos()), Rule: "purity", Text: fmt.Sprintf(format, args...)})
	}
	named := map[string]string{} // local name → path, of the packages whose functions matter
	for _, spec := range f.syntax.Imports {
		p := imported(spec)
		for _, bad := range impure {
			if under(p, bad) && p != "net/netip" {
				report(spec, "a pure package may not import %s", p)
			}
		}
		if p == "time" || strings.HasPrefix(p, "math/rand") {
			named[localName(spec, p)] = p
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n, "a pure package may not start a goroutine")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			switch p := named[x.Name]; {
			case p == "time" && impureTime[n.Sel.Name]:
				report(n, "a pure package may not call time.%s: the time comes in as a value", n.Sel.Name)
			case p != "" && p != "time" && !seededRandom[n.Sel.Name]:
				report(n, "a pure package may not use the global source of %s: randomness comes in as a value", p)
			}
		}
		return true
	})
	return found
}

// localName returns the name that a file uses for an imported package.
func localName(spec *ast.ImportSpec, p string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	if base := path.Base(p); base != "v2" {
		return base
	}
	return path.Base(path.Dir(p))
}
