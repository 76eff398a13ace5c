package result

import "slices"

// Compare fills Comparison from the runs: for each figure the median over rounds
// of each server, its spread ((max-min)/median) and its ratio to base. Figures
// with a direction only: facts are not compared.
func (r *Report) Compare(base string) {
	r.Base, r.Comparison = base, nil
	var order []string
	rows := map[string]*Row{}
	values := map[string]map[string][]float64{}
	for i := range r.Runs {
		run := &r.Runs[i]
		for _, f := range run.Figures {
			if f.Better == Plain {
				continue
			}
			if rows[f.Key] == nil {
				order = append(order, f.Key)
				rows[f.Key] = &Row{
					Key: f.Key, Label: f.Label, Unit: f.Unit, Better: f.Better,
					Median: map[string]float64{}, Ratio: map[string]float64{}, Spread: map[string]float64{},
				}
				values[f.Key] = map[string][]float64{}
			}
			values[f.Key][run.Server] = append(values[f.Key][run.Server], f.Value)
		}
	}
	for _, key := range order {
		row := rows[key]
		for server, v := range values[key] {
			row.Median[server], row.Spread[server] = median(v)
		}
		row.fillRatios(base)
		r.Comparison = append(r.Comparison, *row)
	}
}

func (row *Row) fillRatios(base string) {
	b, ok := row.Median[base]
	if !ok || b == 0 {
		return
	}
	for server, v := range row.Median {
		row.Ratio[server] = v / b
	}
}

// median returns the median of v and (max-min)/median.
func median(v []float64) (mid, spread float64) {
	v = slices.Sorted(slices.Values(v))
	mid = v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (mid + v[len(v)/2-1]) / 2
	}
	if mid != 0 {
		spread = (v[len(v)-1] - v[0]) / mid
	}
	return mid, spread
}
