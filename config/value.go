package config

import (
	"math"
	"strconv"
	"strings"
)

// Value is a parsed value; which field holds it follows from the key's type.
type Value struct {
	Type Type
	Bool bool
	Int  int64 // Int, Short and Long
	Real float64
	Text string // String, Class and Password
	List []string
}

// String writes v as Kafka does (ConfigDef.convertToString).
func (v Value) String() string {
	switch v.Type {
	case Boolean:
		return strconv.FormatBool(v.Bool)
	case Int, Short, Long:
		return strconv.FormatInt(v.Int, 10)
	case Double:
		return javaDouble(v.Real)
	case List:
		return strings.Join(v.List, ",")
	default:
		return v.Text
	}
}

// javaSpace is what Java's String.trim takes off.
func javaSpace(r rune) bool { return r <= ' ' }

// parseValue reads text as Apache's ConfigDef.parseType does. One difference:
// only the digits 0 to 9 are digits.
func parseValue(name string, t Type, text string) (Value, error) {
	v := Value{Type: t}
	trimmed := strings.TrimFunc(text, javaSpace)
	switch t {
	case Boolean:
		v.Bool = strings.EqualFold(trimmed, "true")
		if !v.Bool && !strings.EqualFold(trimmed, "false") {
			return v, invalidValue(name, text, "Expected value to be either true or false")
		}
	case Int, Short, Long:
		n, err := strconv.ParseInt(trimmed, 10, bits(t))
		if err != nil {
			return v, invalidValue(name, text, "Not a number of type "+t.String())
		}
		v.Int = n
	case Double:
		d, ok := parseJavaDouble(trimmed)
		if !ok {
			return v, invalidValue(name, text, "Not a number of type DOUBLE")
		}
		v.Real = d
	case List:
		v.List = splitList(trimmed)
	default:
		v.Text = trimmed
	}
	return v, nil
}

func bits(t Type) int {
	switch t {
	case Short:
		return 16
	case Int:
		return 32
	default:
		return 64
	}
}

// splitList splits at commas with any white space around them. The empty text
// is the empty list; any other text keeps its empty entries.
func splitList(trimmed string) []string {
	if trimmed == "" {
		return nil
	}
	parts := strings.Split(trimmed, ",")
	for i, part := range parts {
		parts[i] = strings.Trim(part, " \t\n\v\f\r")
	}
	return parts
}

// parseJavaDouble takes the forms of Java's Double.parseDouble: a suffix d or
// f, hexadecimal, NaN and Infinity in exactly these letters; no underscores.
func parseJavaDouble(s string) (float64, bool) {
	unsigned := strings.TrimLeft(s, "+-")
	if len(s)-len(unsigned) > 1 {
		return 0, false
	}
	switch unsigned {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1 - 2*strings.Count(s, "-")), true
	}
	hexadecimal := strings.HasPrefix(unsigned, "0x") || strings.HasPrefix(unsigned, "0X")
	if n := len(s); n > 1 && strings.ContainsRune("dDfF", rune(s[n-1])) {
		if hexadecimal && !strings.ContainsAny(s, "pP") {
			return 0, false
		}
		s = s[:n-1]
	}
	if strings.ContainsRune(s, '_') || !startsNumber(strings.TrimLeft(s, "+-")) {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) { // too large is infinite in Java
		return 0, false
	}
	return f, true
}

// startsNumber keeps Go's "inf", "nan" and "infinity" out.
func startsNumber(s string) bool {
	return s != "" && (s[0] == '.' || '0' <= s[0] && s[0] <= '9')
}

// javaDouble writes a double as Java's Double.toString.
func javaDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-3 || a >= 1e7) {
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
		if !strings.ContainsRune(mantissa, '.') {
			mantissa += ".0"
		}
		n, _ := strconv.Atoi(exponent) // FormatFloat wrote it
		return mantissa + "E" + strconv.Itoa(n)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.ContainsRune(s, '.') {
		s += ".0"
	}
	return s
}
