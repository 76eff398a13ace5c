package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"throng/bench/result"
)

//go:embed report.schema.json
var schemaText []byte

// newReport is the subcommand that shows stored reports.
func newReport() *cobra.Command {
	var html, plots, format, base string
	var schema bool
	cmd := &cobra.Command{
		Use: "report FILE...", Short: "Show stored reports: table, JSON, HTML with plots, PNG and SVG",
		Long: `Reads report files and shows them one after the other. Reports of a comparison are
compared again with --base; the histograms in the files are whole, so everything
shown can be recomputed from them. --schema prints the JSON schema of the files.`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if schema {
				_, err := cmd.OutOrStdout().Write(schemaText)
				return err
			}
			reports, err := readReports(files, base)
			if err != nil {
				return usageError{err}
			}
			if err := printReports(cmd, reports, format); err != nil {
				return err
			}
			if plots != "" {
				for _, r := range reports {
					if err := result.WritePictures(plots, r, "svg", "png"); err != nil {
						return fmt.Errorf("--plots: %w", err)
					}
				}
			}
			if html != "" {
				if err := result.WriteHTML(html, reports...); err != nil {
					return fmt.Errorf("--html: %w", err)
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "table", "what to print: table, json or none")
	f.StringVar(&html, "html", "", "write one self-contained page with plots to this file")
	f.StringVar(&plots, "plots", "", "write each plot as SVG and PNG into this directory")
	f.StringVar(&base, "base", "", "server that ratios refer to")
	f.BoolVar(&schema, "schema", false, "print the JSON schema and end")
	return cmd
}

func readReports(files []string, base string) ([]*result.Report, error) {
	if len(files) == 0 {
		return nil, errors.New("report: no file given")
	}
	var out []*result.Report
	for _, f := range files {
		r, err := result.Read(f)
		if err != nil {
			return nil, err
		}
		if base != "" {
			r.Compare(base)
		}
		out = append(out, r)
	}
	return out, nil
}

func printReports(cmd *cobra.Command, reports []*result.Report, format string) error {
	switch format {
	case "none":
		return nil
	case "json":
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", " ")
		for _, r := range reports {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	case "table":
		for _, r := range reports {
			if err := result.Table(cmd.OutOrStdout(), r); err != nil {
				return err
			}
		}
		return nil
	}
	return usageError{fmt.Errorf("--format: %q is none of table, json, none", format)}
}

// isFile says whether path names something that can be read.
func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}
