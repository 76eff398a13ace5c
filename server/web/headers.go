package web

import "net/http"

// contentSecurityPolicy allows what the pages do and nothing else: own files, own WebSocket ('self' covers ws: and
// wss: of the same host, CSP Level 3, 6.7.2.8), no inline script or style, no HTML made from strings (Trusted Types),
// no frames either way, no forms that leave the page.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// permissionsPolicy gives up, for the pages and any frame, what they never use. Only features that browsers know are
// named: an unknown one is a warning in the console.
const permissionsPolicy = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), " +
	"magnetometer=(), microphone=(), midi=(), payment=(), usb=()"

// setSecurityHeaders is for every answer, not for pages alone: an SVG opened by itself is a document too.
func setSecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Permissions-Policy", permissionsPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
