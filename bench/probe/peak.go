package probe

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ResetPeak makes the kernel measure the peak memory of pids from now on.
// Source: proc(5), /proc/pid/clear_refs, value 5.
func ResetPeak(pids []int) error {
	var errs []error
	for _, pid := range pids {
		errs = append(errs, os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "clear_refs"), []byte("5"), 0))
	}
	return errors.Join(errs...)
}

// Peak returns the sum of the highest resident set of each pid since ResetPeak or its start, in bytes.
func Peak(pids []int) (sum int64, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err != nil {
			return 0, err
		}
		for line := range bytes.Lines(text) {
			if name, rest, _ := strings.Cut(string(line), ":"); name == "VmHWM" {
				sum += kilobytes(rest)
			}
		}
	}
	return sum, nil
}
