package controller

import "strings"

// isAddress reports whether text is an IPv4 or IPv6 address. Apache also takes
// a name that its resolver knows, and then stores the name; a decision resolves
// nothing. The standard library's parsers live below package net, which a pure
// package stays away from.
func isAddress(text string) bool {
	if !strings.Contains(text, ":") {
		return isIPv4(text)
	}
	text, zone, zoned := strings.Cut(text, "%")
	if zoned && zone == "" {
		return false
	}
	head, tail, short := strings.Cut(text, "::")
	if !short {
		n, ok := ipv6Groups(head, true)
		return ok && n == 8
	}
	before, ok := ipv6Groups(head, false)
	after, ok2 := ipv6Groups(tail, true)
	return ok && ok2 && before+after < 8
}

// ipv6Groups counts the 16-bit groups of a part of an IPv6 address between "::"
// or its ends; the last part may end in an IPv4 address, which is two groups.
func ipv6Groups(part string, last bool) (n int, ok bool) {
	if part == "" {
		return 0, true
	}
	groups := strings.Split(part, ":")
	for i, g := range groups {
		if last && i == len(groups)-1 && strings.Contains(g, ".") {
			return n + 2, isIPv4(g)
		}
		if len(g) == 0 || len(g) > 4 || strings.Trim(g, "0123456789abcdefABCDEF") != "" {
			return n, false
		}
		n++
	}
	return n, true
}

// isIPv4 takes four decimal numbers up to 255 without leading zeros.
func isIPv4(text string) bool {
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return false
	}
	for _, p := range parts {
		value := 0
		if p == "" || len(p) > 3 || len(p) > 1 && p[0] == '0' {
			return false
		}
		for _, c := range []byte(p) {
			if c < '0' || c > '9' {
				return false
			}
			value = value*10 + int(c-'0')
		}
		if value > 255 {
			return false
		}
	}
	return true
}
