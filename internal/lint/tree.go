// Package lint checks the rules that the compiler does not: who may import
// whom, what a pure package may not touch, and how code is named, documented
// and cut into files. It stands outside the product's flow: its test reads the
// whole tree and nothing imports it. The rules come from the architecture; each
// has a bad example in testdata that proves it can fail.
package lint

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// mapFile is the document that names every package directory.
const mapFile = "docs/README.md"

// Violation is one place that breaks one rule.
type Violation struct {
	File string // slash-separated, from the module's root
	Line int    // 0 when the whole file or directory is meant
	Rule string
	Text string
}

// String prints the violation as compilers print theirs.
func (v Violation) String() string {
	if v.Line == 0 {
		return fmt.Sprintf("%s: %s (%s)", v.File, v.Text, v.Rule)
	}
	return fmt.Sprintf("%s:%d: %s (%s)", v.File, v.Line, v.Text, v.Rule)
}

// Tree is the parsed source of one module.
type Tree struct {
	module   string
	set      *token.FileSet
	packages []*sourcePackage
	mapText  string
}

// sourcePackage is one directory with Go files.
type sourcePackage struct {
	dir   string // slash-separated, from the module's root
	files []*sourceFile
}

// sourceFile is one Go file.
type sourceFile struct {
	path      string
	lines     int
	test      bool
	generated bool
	syntax    *ast.File
}

var moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)

// Load parses every Go file under root, except what the go command ignores:
// testdata, and directories that begin with a dot or an underscore.
func Load(root fs.FS) (*Tree, error) {
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("read go.mod: %w", err)
	}
	name := moduleLine.FindSubmatch(mod)
	if name == nil {
		return nil, errors.New("go.mod has no module line")
	}
	text, err := fs.ReadFile(root, mapFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the map of packages: %w", err)
	}
	t := &Tree{module: string(name[1]), set: token.NewFileSet(), mapText: string(text)}
	byDir := map[string]*sourcePackage{}
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() {
			if base := path.Base(name); base == "testdata" || base[0] == '.' || base[0] == '_' {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		return t.add(root, name, byDir)
	})
	sort.Slice(t.packages, func(i, j int) bool { return t.packages[i].dir < t.packages[j].dir })
	return t, err
}

// add parses one file into its package.
func (t *Tree) add(root fs.FS, name string, byDir map[string]*sourcePackage) error {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	syntax, err := parser.ParseFile(t.set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	dir := path.Dir(name)
	p := byDir[dir]
	if p == nil {
		p = &sourcePackage{dir: dir}
		byDir[dir] = p
		t.packages = append(t.packages, p)
	}
	p.files = append(p.files, &sourceFile{
		path:      name,
		lines:     strings.Count(string(text), "\n"),
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(syntax),
		syntax:    syntax,
	})
	return nil
}

// Check applies every rule and returns what breaks one, ordered by place.
func (t *Tree) Check() []Violation {
	var found []Violation
	for _, p := range t.packages {
		found = append(found, t.checkImports(p)...)
		found = append(found, t.checkPurity(p)...)
		found = append(found, t.checkDocs(p)...)
		found = append(found, t.checkNames(p)...)
		found = append(found, t.checkLength(p)...)
	}
	found = append(found, t.checkMap()...)
	sort.SliceStable(found, func(i, j int) bool {
		if found[i].File != found[j].File {
			return found[i].File < found[j].File
		}
		return found[i].Line < found[j].Line
	})
	return found
}

// line returns the line of a position.
func (t *Tree) line(p token.Pos) int { return t.set.Position(p).Line }

// imported returns the path of an import.
func imported(spec *ast.ImportSpec) string {
	text, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(fmt.Sprintf("the parser let an import through that is no string: %s", spec.Path.Value))
	}
	return text
}
