package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// maxLines is the length at which a file has surely stopped being one idea.
const maxLines = 600

// selfEvident methods belong to the error interface, which says all there is.
var selfEvident = map[string]bool{"Error": true, "Unwrap": true}

// emptyWords say nothing about what a thing does.
var emptyWords = map[string]bool{
	"manager": true, "managers": true, "helper": true, "helpers": true,
	"util": true, "utils": true, "utility": true, "utilities": true, "common": true,
}

// checkLength refuses long files that people wrote.
func (t *Tree) checkLength(p *sourcePackage) []Violation {
	var found []Violation
	for _, f := range p.files {
		if !f.generated && f.lines > maxLines {
			found = append(found, Violation{File: f.path, Rule: "length",
				Text: fmt.Sprintf("%d lines, more than %d: which ideas does it hold?", f.lines, maxLines)})
		}
	}
	return found
}

// checkDocs wants a package comment, and a comment on every exported name of
// code that people wrote. Names inside a group share the group's comment, and
// values on consecutive lines share the comment of the first.
func (t *Tree) checkDocs(p *sourcePackage) []Violation {
	var found []Violation
	documented, onlyTests := false, true
	for _, f := range p.files {
		if f.test {
			continue
		}
		onlyTests = false
		if text := f.syntax.Doc.Text(); text != "" {
			documented = true
			if name := f.syntax.Name.Name; name != "main" && !strings.HasPrefix(text, "Package "+name) {
				found = append(found, Violation{File: f.path, Line: t.line(f.syntax.Package), Rule: "docs",
					Text: fmt.Sprintf("the package comment begins with %q", "Package "+name)})
			}
		}
		if !f.generated {
			found = append(found, t.undocumented(f)...)
		}
	}
	if !documented && !onlyTests {
		found = append(found, Violation{File: p.dir, Rule: "docs", Text: "no file of this package has a package comment that says its place in the flow"})
	}
	return found
}

// undocumented finds the exported declarations of a file without a comment.
func (t *Tree) undocumented(f *sourceFile) []Violation {
	var found []Violation
	want := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if !name.IsExported() {
			return
		}
		for _, d := range docs {
			if d.Text() != "" {
				return
			}
		}
		found = append(found, Violation{File: f.path, Line: t.line(name.Pos()), Rule: "docs", Text: name.Name + " is exported and has no comment"})
	}
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || (ast.IsExported(receiver(d)) && !selfEvident[d.Name.Name]) {
				want(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			var shared *ast.CommentGroup
			for i, s := range d.Specs {
				if i > 0 && t.line(s.Pos()) > t.line(d.Specs[i-1].End())+1 {
					shared = nil // a blank line or a comment of its own ends the run
				}
				switch s := s.(type) {
				case *ast.TypeSpec:
					want(s.Name, s.Doc, s.Comment, d.Doc)
				case *ast.ValueSpec:
					if s.Doc != nil {
						shared = s.Doc
					}
					for _, name := range s.Names {
						want(name, shared, s.Comment, d.Doc)
					}
				}
			}
		}
	}
	return found
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	x := d.Recv.List[0].Type
	for {
		switch v := x.(type) {
		case *ast.StarExpr:
			x = v.X
		case *ast.IndexExpr:
			x = v.X
		case *ast.IndexListExpr:
			x = v.X
		case *ast.Ident:
			return v.Name
		default:
			return ""
		}
	}
}

// checkNames refuses empty words in the names of directories, files and
// top-level declarations.
func (t *Tree) checkNames(p *sourcePackage) []Violation {
	var found []Violation
	check := func(file string, line int, name string) {
		for _, w := range words(name) {
			if emptyWords[w] {
				found = append(found, Violation{File: file, Line: line, Rule: "names", Text: fmt.Sprintf("the name %s has the empty word %q", name, w)})
			}
		}
	}
	check(p.dir, 0, path.Base(p.dir))
	for _, f := range p.files {
		check(f.path, 0, strings.TrimSuffix(path.Base(f.path), ".go"))
		for _, name := range declared(f.syntax) {
			check(f.path, t.line(name.Pos()), name.Name)
		}
	}
	return found
}

// declared returns the names that a file declares at top level.
func declared(f *ast.File) []*ast.Ident {
	var names []*ast.Ident
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name)
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				continue
			}
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name)
				case *ast.ValueSpec:
					names = append(names, s.Names...)
				}
			}
		}
	}
	return names
}

// words cuts a name where its case or its punctuation changes.
func words(name string) []string {
	var out []string
	start, previous := 0, rune(0)
	for i, r := range name {
		separator := !unicode.IsLetter(r) && !unicode.IsDigit(r)
		if separator || (unicode.IsUpper(r) && unicode.IsLower(previous)) {
			out = append(out, strings.ToLower(name[start:i]))
			start = i
			if separator {
				start = i + len(string(r))
			}
		}
		previous = r
	}
	return append(out, strings.ToLower(name[start:]))
}

var mapRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// checkMap compares the tree with the map of packages, in both directions.
func (t *Tree) checkMap() []Violation {
	rows := map[string]bool{}
	for _, m := range mapRow.FindAllStringSubmatch(t.mapText, -1) {
		rows[m[1]] = true
	}
	var found []Violation
	for _, p := range t.packages {
		if !rows[p.dir] {
			found = append(found, Violation{File: p.dir, Rule: "map", Text: "the map of packages in " + mapFile + " has no row for this directory"})
		}
		delete(rows, p.dir)
	}
	for dir := range rows {
		found = append(found, Violation{File: mapFile, Rule: "map", Text: "the map of packages names " + dir + ", which has no Go files"})
	}
	return found
}
