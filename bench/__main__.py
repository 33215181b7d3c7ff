from oneflow_bench.cli import main

main()
