# Draws loss curves of docs/experiments.md from the logs beside this file: thick with points the
# validation loss, thin the training loss.
#   gnuplot -e 'figure="recipes"; names="base decay-0.5"' curves.gp
set terminal svg size 860,480 font "Helvetica,13" background "white"
set output figure.".svg"
set xlabel "tokens seen (millions)"
set ylabel "nats per token"
if (!exists("top")) top = 5
set yrange [*:top]
set grid lc "#dddddd"
set key top right
colours = "#1f77b4 #d62728 #2ca02c #9467bd #ff7f0e #8c564b #7f7f7f"
validation(name) = \
    "< sed -nE 's/.*\"tokens\":([0-9]+).*\"valid_loss\":([0-9.]+).*/\\1 \\2/p' ".name.".jsonl"
training(name) = \
    "< sed -nE 's/.*\"tokens\":([0-9]+),\"loss\":([0-9.]+).*/\\1 \\2/p' ".name.".jsonl"
plot for [i=1:words(names)] training(word(names, i)) using ($1/1e6):2 with lines lw 0.6 \
         lc rgb word(colours, i) notitle, \
     for [i=1:words(names)] validation(word(names, i)) using ($1/1e6):2 with linespoints lw 2 \
         pt 7 ps 0.4 lc rgb word(colours, i) title word(names, i)
