# For JupyterLab: jobs of its dialog "Create Notebook Job" become runs of workbench, in the same folders as all others.
# Copy to ~/.jupyter/, or: jupyter lab --config templates/jupyter_server_config.py
c = get_config()  # noqa: F821  (Jupyter gives it)
c.BaseScheduler.execution_manager_class = "workbench.lab.Execution"
