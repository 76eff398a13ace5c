package result

import "errors"

// WriteHTML is written below.
func WriteHTML(path string, r *Report) error { return errors.New("not yet") }
